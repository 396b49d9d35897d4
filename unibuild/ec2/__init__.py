"""What a project does with EC2: publish, launch, readiness."""
