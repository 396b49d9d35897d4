from unibuild import DOIT_CONFIG, unikernel

app = unikernel()
