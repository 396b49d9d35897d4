"""The goals that use EC2: publish, launch, wait for readiness."""
