"""What an error of AWS means: whether to ask again, and the sentence with the hint.

Sources: the error codes of the EC2 API reference ("Error codes for the Amazon EC2 API"), the errors of the EBS direct
API in botocore's model of ``ebs`` (each with a ``Reason``), and botocore's own exceptions, known here by name.
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING

from unibuild.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DENIED", "NOT_FOUND", "NOT_IMPLEMENTED", "UNREADABLE", "Kind", "explain", "explain_local", "kind_of"]


class Kind(enum.Enum):
    """What an error calls for."""

    THROTTLE = "too many calls: ask again, slower"
    TRANSIENT = "a fault on the way or on their side: ask again"
    ABSENT = "it does not exist, or not yet"
    FATAL = "asking again changes nothing"


_THROTTLES = frozenset(
    (
        *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException"),
        *("RequestLimitExceeded", "BandwidthLimitExceeded", "SlowDown", "EC2ThrottledException"),
        *("TooManyRequestsException", "ConcurrentLimitExceededException"),
    )
)
_TRANSIENTS = frozenset(
    (
        *("InternalError", "InternalFailure", "InternalServerException", "InternalServerError", "ServiceUnavailable"),
        *("ServiceUnavailableException", "Unavailable", "RequestTimeout", "RequestTimeoutException"),
    )
)
DENIED = ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException")
"""What the services say where the account may not do something."""
NOT_IMPLEMENTED = "NotImplemented"
"""The code of an ``AwsError`` where the endpoint does not know the operation."""
UNREADABLE = "ResponseParserError"
"""The code of an ``AwsError`` where the answer cannot be parsed."""
_UNIMPLEMENTED = frozenset(
    (
        *(NOT_IMPLEMENTED, "NotImplementedException", "UnknownOperation", "UnknownOperationException"),
        *("InvalidAction", "UnknownAction"),
    )
)
_NOT_THERE = "AWS_ENDPOINT_URL: the endpoint must implement this operation"
_THROUGH_S3 = '[publish] via = "s3" publishes without the EBS direct API'
_EBS_WRITING = ("StartSnapshot", "PutSnapshotBlock", "CompleteSnapshot")
NOT_FOUND = re.compile(r"NotFound$|NotFoundException$|^NoSuch|^404$|\.NotFound\b")

_AGAIN = "a later run goes on where this one stopped"
_PERMISSION = "the account's policy must allow this; `unibuild iam-policy` prints what this configuration needs"
_TRUST = "`role_arn` of the profile: the role must be there, and its trust policy must name who asks"
_SIGN_IN = "sign in again, or look at the profile: `aws sts get-caller-identity{profile}` must work"
_CLOCK = "see that this machine's clock is right"
_SEE = "see what AWS says"
_PV_TYPES = "a paravirtual AMI runs on C1, C3, M1, M2, M3 and T1 instances only: [launch] type"
_BY_MESSAGE = (  # a code that stands for many things: what its message mentions, and the hint
    (re.compile(r"HttpTokens|IMDS|metadata", re.IGNORECASE), '[launch] metadata = "v2": the account enforces IMDSv2'),
    (re.compile(r"virtualization|paravirtual", re.IGNORECASE), _PV_TYPES),
)

_SENTENCES: Mapping[str, tuple[str, str]] = {
    # who we are
    "AuthFailure": ("the credentials are not accepted", _SIGN_IN),
    "UnrecognizedClientException": ("the access key is not known", _SIGN_IN),
    "InvalidClientTokenId": ("the access key is not known", _SIGN_IN),
    "InvalidAccessKeyId": ("the access key is not known", _SIGN_IN),
    "SignatureDoesNotMatch": ("the secret key does not belong to the access key", _SIGN_IN),
    "InvalidSignatureException": ("the secret key does not belong to the access key", f"{_SIGN_IN}; {_CLOCK}"),
    "ExpiredToken": ("the session has expired", _SIGN_IN),
    "ExpiredTokenException": ("the session has expired", _SIGN_IN),
    "RequestExpired": ("the request was too old when it came", f"{_CLOCK}; {_SIGN_IN}"),
    "RequestTimeTooSkewed": ("the request's time is wrong", _CLOCK),
    "MissingAuthenticationToken": ("there are no credentials", _SIGN_IN),
    "IncompleteSignature": ("the credentials are incomplete", _SIGN_IN),
    # what we may do
    "UnauthorizedOperation": ("the account may not do this", _PERMISSION),
    "AccessDeniedException": ("the account may not do this", _PERMISSION),
    "AccessDenied": ("the account may not do this", _PERMISSION),
    "OptInRequired": ("the account is not signed up for EC2 in this region", "sign up at https://aws.amazon.com/ec2/"),
    "PendingVerification": (
        "AWS is still verifying the account",
        "wait for its mail, then run again",
    ),
    "Blocked": ("AWS has blocked the account", "ask AWS Support"),
    # images and snapshots
    "InvalidAMIName.Duplicate": (
        "there is an AMI of this name already",
        "[publish] name: put {hash} into it, or remove the other: `unibuild ami list`",
    ),
    "InvalidAMIName.Malformed": (
        "the AMI's name is not allowed",
        "[publish] name: 3 to 128 letters, digits, spaces and ( ) [ ] . / - ' @ _",
    ),
    "InvalidAMIID.NotFound": ("there is no such AMI", "it is gone, or of another region or account"),
    "InvalidAMIID.Malformed": ("this is no AMI's id", "it reads ami-0123456789abcdef0"),
    "InvalidAMIID.Unavailable": ("the AMI cannot be used now", "it is pending, failed or deregistered"),
    "InvalidManifest": ("the image has no manifest that EC2 reads", "publish through EBS, not as an instance store"),
    "InvalidSnapshot.NotFound": ("there is no such snapshot", "it is gone, or of another region or account"),
    "InvalidSnapshot.InUse": ("the snapshot is in use by an AMI", "deregister the AMI first: `unibuild ami rm`"),
    "InvalidBlockDeviceMapping": ("the AMI's root device is not accepted", "see what AWS says"),
    "InvalidKernel.NotFound": ("the AKI is not there", "it is of another region"),
    "ResourceNotFoundException": ("the snapshot is not there", "it was deleted, or it ended unfinished; run again"),
    "ConflictException": (
        "an unfinished upload with other parameters has the same token",
        "remove .unibuild/aws.json, which only remembers unfinished uploads, and run again",
    ),
    "ServiceQuotaExceededException": ("a quota of the EBS direct API is used up", "ask for more in Service Quotas"),
    "ConcurrentLimitExceededException": (
        "too many snapshots are unfinished",
        "they end by themselves after an hour; `unibuild ami gc` removes ours",
    ),
    "SnapshotLimitExceeded": ("the region's number of snapshots is used up", "`unibuild ami gc` removes old ones"),
    "ResourceLimitExceeded": ("a limit of the account is reached", "ask for more in Service Quotas"),
    "IncorrectState": ("the resource is in a state that does not allow this", _AGAIN),
    "KmsKeyNotFound": ("the KMS key is not there", "[publish] kms_key: of this region, and one that you may use"),
    "NotFoundException": ("the KMS key is not there", "[publish] kms_key: of this region, and one that you may use"),
    "InvalidKmsKeyId": ("the KMS key is not there", "[publish] kms_key: of this region, and one that you may use"),
    "OperationNotPermitted": (
        "this is not permitted",
        "deregistration or termination protection may be on; with a cooldown it is for 24 hours after it is lifted",
    ),
    "InvalidTagKey.Malformed": ("a tag's key is not allowed", "[publish] tags: it must not start with aws:"),
    "TagLimitExceeded": ("more than 50 tags", "[publish] tags: fewer of them"),
    # instances
    "InvalidParameterCombination": ("the parameters do not go together", _SEE),
    "Unsupported": ("the instance type is not offered so", f"{_PV_TYPES}; not every zone has them: [launch] subnet"),
    "UnsupportedOperation": ("the operation is not supported here", _SEE),
    "InvalidInstanceType": ("there is no such instance type", "[launch] type"),
    "InsufficientInstanceCapacity": (
        "AWS has no free instance of this type in the zone",
        "try later, another zone ([launch] subnet) or another [launch] type",
    ),
    "InsufficientHostCapacity": ("AWS has no free host for this type", "try later, or another [launch] type"),
    "InsufficientAddressCapacity": ("AWS has no free Elastic IP", "try later"),
    "InstanceLimitExceeded": ("the account's number of instances is used up", "ask for more in Service Quotas"),
    "VcpuLimitExceeded": ("the account's number of vCPUs is used up", "ask for more in Service Quotas"),
    "MaxSpotInstanceCountExceeded": ("the account's number of spot instances is used up", "ask for more"),
    "AddressLimitExceeded": ("the account's number of Elastic IPs is used up", "release one, or ask for more"),
    "VPCIdNotSpecified": ("the account has no default VPC here", "[launch] subnet: name a subnet"),
    "VPCResourceNotSpecified": ("the type runs only in a VPC", "[launch] subnet: name a subnet"),
    "DefaultVpcDoesNotExist": ("the account has no default VPC here", "[launch] subnet: name a subnet"),
    "InvalidSubnetID.NotFound": ("there is no such subnet", "[launch] subnet: of this region"),
    "InvalidSubnet": ("the subnet cannot be used", "[launch] subnet"),
    "InvalidGroup.NotFound": ("there is no such security group", "[launch] security_group: of the subnet's VPC"),
    "InvalidGroup.Duplicate": ("there is a security group of this name already", "[launch] security_group: its id"),
    "InvalidGroupId.Malformed": ("this is no security group's id", "[launch] security_group: sg-0123456789abcdef0"),
    "InvalidKeyPair.NotFound": ("there is no such key pair", "[launch] key: the name of one of this region"),
    "InvalidAllocationID.NotFound": ("there is no such Elastic IP", "[launch] elastic_ip: its address or eipalloc-..."),
    "InvalidAddress.NotFound": ("there is no such Elastic IP", "[launch] elastic_ip: its address or eipalloc-..."),
    "InvalidInstanceID.NotFound": ("there is no such instance", "it is gone, or of another region or account"),
    "InvalidUserData.Malformed": ("the user data is not accepted", "[launch] user_data: at most 16 KiB"),
    "IdempotentInstanceTerminated": ("the instance of this launch has ended already", "run again for a new one"),
    "IdempotentParameterMismatch": ("an earlier launch with other parameters has the same token", "run again"),
    "IncorrectInstanceState": ("the instance is in a state that does not allow this", "see `unibuild ami list`"),
    # S3 and its import
    "NoSuchBucket": ("there is no such bucket", "[publish] bucket: one that exists in this region"),
    "PermanentRedirect": ("the bucket is in another region", "[publish] bucket: one of the AMI's region"),
    "InvalidParameter": ("a parameter is not accepted", "see what AWS says"),
    "InvalidParameterValue": ("a parameter is not accepted", "see what AWS says"),
}

_LOCAL: Mapping[str, tuple[str, str]] = {  # botocore's exceptions, which need no answer of AWS
    "NoCredentialsError": ("there are no credentials", "`aws configure`, `aws sso login`, or AWS_PROFILE"),
    "PartialCredentialsError": ("the credentials are incomplete", "both the access key and the secret key are needed"),
    "CredentialRetrievalError": ("the credentials cannot be had", _SIGN_IN),
    "ProfileNotFound": ("there is no such profile", "[publish] profile, AWS_PROFILE: one of ~/.aws/config"),
    "NoRegionError": ("no region is set", "[publish] region, AWS_DEFAULT_REGION, or `region` of the profile"),
    "InvalidRegionError": ("this is no region's name", "[publish] region: as in eu-west-1"),
    "ConfigParseError": ("~/.aws/config cannot be read", "its grammar is that of an INI file"),
    "InvalidConfigError": ("the profile's configuration is wrong", "look at ~/.aws/config"),
    "SSOTokenLoadError": ("there is no SSO session", "`aws sso login{profile}`"),
    "UnauthorizedSSOTokenError": ("the SSO session has expired", "`aws sso login{profile}`"),
    "TokenRetrievalError": ("the SSO session has expired", "`aws sso login{profile}`"),
    "SSOError": ("the SSO session cannot be used", "`aws sso login{profile}`"),
    "MetadataRetrievalError": ("the credentials cannot be had from the metadata service", _SIGN_IN),
    "MissingDependencyException": ("a library for this way to sign in is not installed", "pip install 'botocore[crt]'"),
    "ParamValidationError": ("a parameter cannot be sent", "a setting of [publish] or [launch] has a wrong value"),
    "InvalidEndpointDiscoveryConfigurationError": ("the endpoint is wrong", "look at AWS_ENDPOINT_URL"),
    "SSLError": ("the connection is not trusted", "AWS_CA_BUNDLE: the certificates of a proxy in between"),
    "ProxyConnectionError": ("the proxy cannot be reached", "look at HTTPS_PROXY"),
    "EndpointConnectionError": ("AWS cannot be reached", "is there a network? is the region's name right?"),
    "ConnectTimeoutError": ("AWS cannot be reached", "is there a network? is the region's name right?"),
    "ReadTimeoutError": ("AWS does not answer", _AGAIN),
}
_SECRET = re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}\b|\b[A-Za-z0-9+/_-]{60,}={0,2}")
_QUIET = re.compile(r"Signature|Token|Credential|AuthFailure|AccessKey")  # what AWS says there can hold the request
_CODED = re.compile(r"\s*Encoded authorization failure message:.*", re.DOTALL)


def kind_of(code: str, status: int, reason: str = "") -> Kind:
    """Return what an error of AWS calls for.

    Args:
        code: the error's code, as ``RequestLimitExceeded``.
        status: the answer's HTTP status.
        reason: the ``Reason`` that the EBS direct API adds.
    """
    if _is_unimplemented(code, status):
        return Kind.FATAL
    if code in _THROTTLES:
        return Kind.THROTTLE
    if code == "ValidationException" and reason == "WRITE_REQUEST_TIMEOUT":
        return Kind.THROTTLE
    if code in _TRANSIENTS:
        return Kind.TRANSIENT
    if NOT_FOUND.search(code):
        return Kind.ABSENT
    if code in _SENTENCES:  # InsufficientInstanceCapacity is a 500
        return Kind.FATAL
    return Kind.TRANSIENT if status >= 500 else Kind.THROTTLE if status == 429 else Kind.FATAL


def _is_unimplemented(code: str, status: int) -> bool:
    """Tell whether the endpoint does not know the operation: RFC 9110 has status 501 for that."""
    return status == 501 or code in _UNIMPLEMENTED


def explain(
    operation: str, region: str, code: str, message: str, reason: str = "", profile: str = "", status: int = 400
) -> AwsError:
    """Return the sentence for an error that AWS answered with.

    Args:
        operation: what was called, as ``RegisterImage``.
        region: where.
        code: the error's code.
        message: what AWS says of it; it is shown where it cannot hold a secret.
        reason: the ``Reason`` that the EBS direct API adds.
        profile: the profile that the credentials are of; empty: the default one.
        status: the answer's HTTP status.
    """
    sentence, hint = _SENTENCES.get(code, ("", _SEE))
    if code in ("UnsupportedOperation", "InvalidParameterCombination"):
        hint = next((text for mentioned, text in _BY_MESSAGE if mentioned.search(message)), hint)
    is_unimplemented = _is_unimplemented(code, status)
    if is_unimplemented:
        sentence = f"the endpoint does not implement {operation}"
        hint = _THROUGH_S3 if operation in _EBS_WRITING else _NOT_THERE
    if operation.startswith("AssumeRole") and code in DENIED:
        hint = _TRUST
    said = "" if _QUIET.search(code) else _cleaned(message)
    told = ": ".join(filter(None, (sentence, said))) or "no reason given"
    return AwsError(
        f"{operation} in {region}: {told} ({code})",
        hint=_of_profile(hint, profile),
        code=NOT_IMPLEMENTED if is_unimplemented else code,
        reason=reason,
    )


def explain_local(operation: str, region: str, name: str, message: str, profile: str = "") -> AwsError:
    """Return the sentence for an exception of botocore's or the network's, known by its class name.

    Args:
        operation: what was called.
        region: where; empty: nowhere yet.
        name: the exception's class.
        message: what it says.
        profile: the profile that the credentials are of; empty: the default one.
    """
    sentence, hint = _LOCAL.get(name, ("the answer cannot be understood", _AGAIN))
    said = "" if _QUIET.search(name) else _cleaned(message)
    where = f" in {region}" if region else ""
    return AwsError(
        f"{operation}{where}: {sentence}" + (f": {said}" if said else ""),
        hint=_of_profile(hint, profile),
        code=name,
    )


def _of_profile(hint: str, profile: str) -> str:
    """Let the commands of a hint name the profile."""
    return hint.replace("{profile}", f" --profile {profile}" if profile else "")


def _cleaned(message: str) -> str:
    """Take out of a message what is long and encoded, or looks like a key, and its closing full stop."""
    text = _SECRET.sub("...", _CODED.sub("", message))
    return " ".join(text.split()).rstrip(".")
