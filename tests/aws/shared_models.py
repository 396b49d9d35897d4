"""Let all sessions of botocore in this process read each service's model once; EC2's takes a third of a second."""

import functools

import botocore.loaders
import botocore.session

botocore.session.create_loader = functools.cache(botocore.loaders.create_loader)
