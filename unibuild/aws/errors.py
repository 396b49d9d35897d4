"""Explain errors of AWS: whether to retry the call, and the message with its hint.

Sources: the error codes of the EC2 API reference ("Error codes for the Amazon EC2 API"), the errors of the EBS direct
API in botocore's model of ``ebs`` (each with a ``Reason``), and botocore's own exceptions, by their class names.
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
    """What to do about an error."""

    THROTTLE = "too many calls: retry, slower"
    TRANSIENT = "a fault of the network or of AWS: retry"
    ABSENT = "it does not exist, or not yet"
    FATAL = "a retry changes nothing"


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
"""The codes of the services for a missing permission."""
NOT_IMPLEMENTED = "NotImplemented"
"""The code of an ``AwsError`` for an operation that the endpoint does not know."""
UNREADABLE = "ResponseParserError"
"""The code of an ``AwsError`` for an answer that cannot be parsed."""
_UNIMPLEMENTED = frozenset(
    (
        *(NOT_IMPLEMENTED, "NotImplementedException", "UnknownOperation", "UnknownOperationException"),
        *("InvalidAction", "UnknownAction"),
    )
)
_NOT_THERE = "check AWS_ENDPOINT_URL: the endpoint must implement this operation"
_THROUGH_S3 = 'set [publish] via = "s3" to publish without the EBS direct API'
_EBS_WRITING = ("StartSnapshot", "PutSnapshotBlock", "CompleteSnapshot")
NOT_FOUND = re.compile(r"NotFound$|NotFoundException$|^NoSuch|^404$|\.NotFound\b")

_AGAIN = "run again: the next run continues where this one stopped"
_PERMISSION = "the account's policy must allow this; `unibuild iam-policy` prints the policy for this configuration"
_TRUST = "check `role_arn` of the profile: the role must exist, and its trust policy must name the caller"
_SIGN_IN = "sign in again, or check the profile: `aws sts get-caller-identity{profile}` must work"
_CLOCK = "check this machine's clock"
_SEE = "read the message of AWS"
_PV_TYPES = "set [launch] type: a paravirtual AMI runs on C1, C3, M1, M2, M3 and T1 instances only"
_BY_MESSAGE = (  # for codes with several meanings: what the message mentions, and the hint
    (
        re.compile(r"HttpTokens|IMDS|metadata", re.IGNORECASE),
        'set [launch] metadata = "v2": the account enforces IMDSv2',
    ),
    (re.compile(r"virtualization|paravirtual", re.IGNORECASE), _PV_TYPES),
)

_SUBNET = "set [launch] subnet to a subnet of this region"
_ADDRESS = "set [launch] elastic_ip to its address or allocation id (eipalloc-...)"
_KEY = "set [publish] kms_key to a key of this region that you may use"

_SENTENCES: Mapping[str, tuple[str, str]] = {
    # credentials
    "AuthFailure": ("the credentials are not accepted", _SIGN_IN),
    "UnrecognizedClientException": ("the access key is not known", _SIGN_IN),
    "InvalidClientTokenId": ("the access key is not known", _SIGN_IN),
    "InvalidAccessKeyId": ("the access key is not known", _SIGN_IN),
    "SignatureDoesNotMatch": ("the secret key does not belong to the access key", _SIGN_IN),
    "InvalidSignatureException": ("the secret key does not belong to the access key", f"{_SIGN_IN}; {_CLOCK}"),
    "ExpiredToken": ("the session has expired", _SIGN_IN),
    "ExpiredTokenException": ("the session has expired", _SIGN_IN),
    "RequestExpired": ("the request was too old when it arrived", f"{_CLOCK}; {_SIGN_IN}"),
    "RequestTimeTooSkewed": ("the request's time is wrong", _CLOCK),
    "MissingAuthenticationToken": ("there are no credentials", _SIGN_IN),
    "IncompleteSignature": ("the credentials are incomplete", _SIGN_IN),
    # permissions
    "UnauthorizedOperation": ("the account may not do this", _PERMISSION),
    "AccessDeniedException": ("the account may not do this", _PERMISSION),
    "AccessDenied": ("the account may not do this", _PERMISSION),
    "OptInRequired": ("the account is not signed up for EC2 in this region", "sign up at https://aws.amazon.com/ec2/"),
    "PendingVerification": (
        "AWS is still verifying the account",
        "wait for the mail of AWS, then run again",
    ),
    "Blocked": ("AWS has blocked the account", "ask AWS Support"),
    # images and snapshots
    "InvalidAMIName.Duplicate": (
        "an AMI of this name exists already",
        "put {hash} into [publish] name, or remove the other AMI: `unibuild ami list`",
    ),
    "InvalidAMIName.Malformed": (
        "the AMI's name is not allowed",
        "set [publish] name to 3 to 128 letters, digits, spaces and ( ) [ ] . / - ' @ _",
    ),
    "InvalidAMIID.NotFound": ("the AMI does not exist", "it was removed, or is in another region or account"),
    "InvalidAMIID.Malformed": ("this is not the id of an AMI", "an id looks like ami-0123456789abcdef0"),
    "InvalidAMIID.Unavailable": ("the AMI cannot be used now", "it is pending, failed or deregistered"),
    "InvalidManifest": ("EC2 cannot read the image's manifest", "publish through EBS, not as an instance store"),
    "InvalidSnapshot.NotFound": ("the snapshot does not exist", "it was removed, or is in another region or account"),
    "InvalidSnapshot.InUse": ("the snapshot is in use by an AMI", "deregister the AMI first: `unibuild ami rm`"),
    "InvalidBlockDeviceMapping": ("the AMI's root device is not accepted", _SEE),
    "InvalidKernel.NotFound": ("the AKI does not exist here", "it belongs to another region"),
    "ResourceNotFoundException": ("the snapshot does not exist", "it was deleted, or EBS gave it up; run again"),
    "ConflictException": (
        "an unfinished upload with other parameters has the same token",
        "remove .unibuild/aws.json, which only records unfinished uploads, and run again",
    ),
    "ServiceQuotaExceededException": ("a quota of the EBS direct API is used up", "ask for more in Service Quotas"),
    "ConcurrentLimitExceededException": (
        "too many snapshots are unfinished",
        "EBS gives them up after an hour; `unibuild ami gc` removes those of unibuild",
    ),
    "SnapshotLimitExceeded": ("the region's quota of snapshots is used up", "remove old ones: `unibuild ami gc`"),
    "ResourceLimitExceeded": ("a limit of the account is reached", "ask for more in Service Quotas"),
    "IncorrectState": ("the resource is in a state that does not allow this", _AGAIN),
    "KmsKeyNotFound": ("the KMS key does not exist", _KEY),
    "NotFoundException": ("the KMS key does not exist", _KEY),
    "InvalidKmsKeyId": ("the KMS key does not exist", _KEY),
    "OperationNotPermitted": (
        "this is not permitted",
        "deregistration or termination protection may be on; with a cooldown it lasts 24 hours after it is lifted",
    ),
    "InvalidTagKey.Malformed": ("a tag's key is not allowed", "change [publish] tags: no key may start with aws:"),
    "TagLimitExceeded": ("more than 50 tags", "remove some of [publish] tags"),
    # instances
    "InvalidParameterCombination": ("the parameters do not go together", _SEE),
    "Unsupported": (
        "the instance type is not offered for these parameters",
        f"{_PV_TYPES}; or set [launch] subnet: not every zone has them",
    ),
    "UnsupportedOperation": ("the operation is not supported here", _SEE),
    "InvalidInstanceType": ("the instance type does not exist", "change [launch] type"),
    "InsufficientInstanceCapacity": (
        "AWS has no free instance of this type in the zone",
        "try later, another zone ([launch] subnet) or another [launch] type",
    ),
    "InsufficientHostCapacity": ("AWS has no free host for this type", "try later, or another [launch] type"),
    "InsufficientAddressCapacity": ("AWS has no free Elastic IP", "try later"),
    "InstanceLimitExceeded": ("the account's quota of instances is used up", "ask for more in Service Quotas"),
    "VcpuLimitExceeded": ("the account's quota of vCPUs is used up", "ask for more in Service Quotas"),
    "MaxSpotInstanceCountExceeded": ("the account's quota of spot instances is used up", "ask for more"),
    "AddressLimitExceeded": ("the account's quota of Elastic IPs is used up", "release one, or ask for more"),
    "VPCIdNotSpecified": ("the account has no default VPC here", _SUBNET),
    "VPCResourceNotSpecified": ("the type runs only in a VPC", _SUBNET),
    "DefaultVpcDoesNotExist": ("the account has no default VPC here", _SUBNET),
    "InvalidSubnetID.NotFound": ("the subnet does not exist", _SUBNET),
    "InvalidSubnet": ("the subnet cannot be used", "change [launch] subnet"),
    "InvalidGroup.NotFound": (
        "the security group does not exist",
        "set [launch] security_group to a group of the subnet's VPC",
    ),
    "InvalidGroup.Duplicate": (
        "a security group of this name exists already",
        "set [launch] security_group to its id",
    ),
    "InvalidGroupId.Malformed": (
        "this is not the id of a security group",
        "an id in [launch] security_group looks like sg-0123456789abcdef0",
    ),
    "InvalidKeyPair.NotFound": ("the key pair does not exist", "set [launch] key to a key pair of this region"),
    "InvalidAllocationID.NotFound": ("the Elastic IP does not exist", _ADDRESS),
    "InvalidAddress.NotFound": ("the Elastic IP does not exist", _ADDRESS),
    "InvalidInstanceID.NotFound": ("the instance does not exist", "it is gone, or is in another region or account"),
    "InvalidUserData.Malformed": ("the user data is not accepted", "[launch] user_data may have at most 16 KiB"),
    "IdempotentInstanceTerminated": ("the instance of this launch was terminated", "run again for a new one"),
    "IdempotentParameterMismatch": ("an earlier launch with other parameters has the same token", "run again"),
    "IncorrectInstanceState": ("the instance is in a state that does not allow this", "see `unibuild ami list`"),
    # S3 and its import
    "NoSuchBucket": ("the bucket does not exist", "set [publish] bucket to one that exists in this region"),
    "PermanentRedirect": ("the bucket is in another region", "set [publish] bucket to one of the AMI's region"),
    "InvalidParameter": ("a parameter is not accepted", _SEE),
    "InvalidParameterValue": ("a parameter is not accepted", _SEE),
}

_LOCAL: Mapping[str, tuple[str, str]] = {  # botocore's exceptions that come without an answer of AWS
    "NoCredentialsError": ("there are no credentials", "run `aws configure` or `aws sso login`, or set AWS_PROFILE"),
    "PartialCredentialsError": ("the credentials are incomplete", "set both the access key and the secret key"),
    "CredentialRetrievalError": ("the credentials are not available", _SIGN_IN),
    "ProfileNotFound": (
        "the profile does not exist",
        "set [publish] profile or AWS_PROFILE to a profile of ~/.aws/config",
    ),
    "NoRegionError": ("no region is set", "set [publish] region, AWS_DEFAULT_REGION, or `region` of the profile"),
    "InvalidRegionError": ("this is not the name of a region", "set [publish] region to one like eu-west-1"),
    "ConfigParseError": ("~/.aws/config cannot be read", "it must be an INI file"),
    "InvalidConfigError": ("the profile's configuration is wrong", "check ~/.aws/config"),
    "SSOTokenLoadError": ("there is no SSO session", "run `aws sso login{profile}`"),
    "UnauthorizedSSOTokenError": ("the SSO session has expired", "run `aws sso login{profile}`"),
    "TokenRetrievalError": ("the SSO session has expired", "run `aws sso login{profile}`"),
    "SSOError": ("the SSO session cannot be used", "run `aws sso login{profile}`"),
    "MetadataRetrievalError": ("the metadata service does not give credentials", _SIGN_IN),
    "MissingDependencyException": (
        "a library for this way to sign in is not installed",
        "run `pip install 'botocore[crt]'`",
    ),
    "ParamValidationError": ("a parameter cannot be sent", "a setting of [publish] or [launch] has a wrong value"),
    "InvalidEndpointDiscoveryConfigurationError": ("the endpoint is wrong", "check AWS_ENDPOINT_URL"),
    "SSLError": (
        "the connection is not trusted",
        "set AWS_CA_BUNDLE to the certificates of the proxy, if there is one",
    ),
    "ProxyConnectionError": ("the proxy cannot be reached", "check HTTPS_PROXY"),
    "EndpointConnectionError": ("AWS cannot be reached", "check the network and the region's name"),
    "ConnectTimeoutError": ("AWS cannot be reached", "check the network and the region's name"),
    "ReadTimeoutError": ("AWS does not answer", _AGAIN),
}
_SECRET = re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}\b|\b[A-Za-z0-9+/_-]{60,}={0,2}")
_QUIET = re.compile(r"Signature|Token|Credential|AuthFailure|AccessKey")  # these messages of AWS can hold the request
_CODED = re.compile(r"\s*Encoded authorization failure message:.*", re.DOTALL)


def kind_of(code: str, status: int, reason: str = "") -> Kind:
    """Return what to do about an error of AWS.

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
    """Return whether the endpoint does not know the operation: RFC 9110 has status 501 for that."""
    return status == 501 or code in _UNIMPLEMENTED


def explain(
    operation: str, region: str, code: str, message: str, reason: str = "", profile: str = "", status: int = 400
) -> AwsError:
    """Return the error for an error that AWS answered with.

    Args:
        operation: what was called, as ``RegisterImage``.
        region: where.
        code: the error's code.
        message: the message of AWS; it is shown unless it can hold a secret.
        reason: the ``Reason`` that the EBS direct API adds.
        profile: the profile that has the credentials; empty: the default one.
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
    cleaned = "" if _QUIET.search(code) else _cleaned(message)
    why = ": ".join(filter(None, (sentence, cleaned))) or "no reason given"
    return AwsError(
        f"{operation} in {region}: {why} ({code})",
        hint=_of_profile(hint, profile),
        code=NOT_IMPLEMENTED if is_unimplemented else code,
        reason=reason,
    )


def explain_local(operation: str, region: str, name: str, message: str, profile: str = "") -> AwsError:
    """Return the error for an exception of botocore or the network, by its class name.

    Args:
        operation: what was called.
        region: where; empty: no region is known yet.
        name: the exception's class.
        message: its text.
        profile: the profile that has the credentials; empty: the default one.
    """
    sentence, hint = _LOCAL.get(name, ("the answer cannot be parsed", _AGAIN))
    cleaned = "" if _QUIET.search(name) else _cleaned(message)
    where = f" in {region}" if region else ""
    return AwsError(
        f"{operation}{where}: {sentence}" + (f": {cleaned}" if cleaned else ""),
        hint=_of_profile(hint, profile),
        code=name,
    )


def _of_profile(hint: str, profile: str) -> str:
    """Fill the profile into the commands of a hint."""
    return hint.replace("{profile}", f" --profile {profile}" if profile else "")


def _cleaned(message: str) -> str:
    """Remove from a message what is long and encoded or looks like a key, and its closing full stop."""
    text = _SECRET.sub("...", _CODED.sub("", message))
    return " ".join(text.split()).rstrip(".")
