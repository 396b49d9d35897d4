"""Launch an AMI: the instance, its security group and address, and the records of launches."""
