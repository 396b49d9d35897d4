"""S3, as far as the upload of a disk image needs it: buckets, objects, multipart uploads."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import AwsError
from .service import Service

if TYPE_CHECKING:
    from .request import Params
    from .world import Region

S3 = Service("s3")
MIN_PART = 5 << 20
"""The smallest size of a part, except for the last one, in bytes."""
MAX_PARTS = 10000


@dataclass
class Upload:
    key: str
    started: float
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Bucket:
    """A bucket; names are unique in all regions, ``region`` is its location."""

    region: str
    created: float
    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict, compare=False)
    stored: dict[str, float] = field(default_factory=dict, compare=False)

    def keep(self, key: str, data: bytes, tag: str, now: float) -> None:
        self.objects[key], self.etags[key], self.stored[key] = data, tag, now


def bucket_of(region: Region, params: Params) -> Bucket:
    name = params["Bucket"]
    bucket = region.world.buckets.get(name)
    if bucket is None:
        raise AwsError("NoSuchBucket", "The specified bucket does not exist", 404, BucketName=name)
    if bucket.region != region.name:
        raise AwsError("PermanentRedirect", "The bucket is in another region", 301, Bucket=name, Region=bucket.region)
    return bucket


def object_of(region: Region, params: Params) -> bytes:
    objects = bucket_of(region, params).objects
    if params["Key"] not in objects:
        raise AwsError("NoSuchKey", "The specified key does not exist.", 404, Key=params["Key"])
    return objects[params["Key"]]


def etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


def check_sum(params: Params) -> None:
    """Refuse a body that does not match the checksum sent with it."""
    sent = params.get("ChecksumCRC32")
    crc = base64.b64encode(zlib.crc32(params["Body"]).to_bytes(4, "big")).decode()
    md5 = base64.b64encode(hashlib.md5(params["Body"]).digest()).decode()
    if (sent and sent != crc) or params.get("ContentMD5", md5) != md5:
        raise AwsError("BadDigest", "The checksum you specified did not match the calculated checksum.")


@S3.operation
def create_bucket(region: Region, params: Params) -> Params:
    name = params["Bucket"]
    where = params.get("CreateBucketConfiguration", {}).get("LocationConstraint", "us-east-1")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name):
        raise AwsError("InvalidBucketName", "The specified bucket is not valid.", BucketName=name)
    if where != region.name:
        raise AwsError("IllegalLocationConstraintException", f"The {where} location constraint is incompatible")
    if name in region.world.taken_buckets:
        raise AwsError("BucketAlreadyExists", "The requested bucket name is not available.", 409)
    if name in region.world.buckets and region.name != "us-east-1":
        raise AwsError("BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded", 409)
    region.world.buckets.setdefault(name, Bucket(region.name, region.now))
    return {"Location": f"/{name}"}


@S3.operation
def head_bucket(region: Region, params: Params) -> Params:
    if params["Bucket"] in region.world.taken_buckets:
        raise AwsError("403", "Forbidden", 403)
    return {"BucketRegion": bucket_of(region, params).region}


@S3.operation
def delete_bucket(region: Region, params: Params) -> None:
    if bucket_of(region, params).objects:
        raise AwsError("BucketNotEmpty", "The bucket you tried to delete is not empty", 409)
    del region.world.buckets[params["Bucket"]]


@S3.operation
def put_object(region: Region, params: Params) -> Params:
    bucket = bucket_of(region, params)
    check_sum(params)
    bucket.keep(params["Key"], params["Body"], etag(params["Body"]), region.now)
    return {"ETag": bucket.etags[params["Key"]]}


@S3.operation
def head_object(region: Region, params: Params) -> Params:
    data = object_of(region, params)
    return {"ContentLength": len(data), "ETag": bucket_of(region, params).etags[params["Key"]]}


@S3.operation
def get_object(region: Region, params: Params) -> Params:
    data = object_of(region, params)
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", params.get("Range", ""))
    if not wanted:
        return {"Body": data, "ETag": etag(data)}
    end = int(wanted[2] or len(data) - 1)
    part = data[int(wanted[1]) : end + 1]
    told = f"bytes {wanted[1]}-{min(end, len(data) - 1)}/{len(data)}"
    return {"Body": part, "ETag": etag(data), "ContentRange": told, "Status": 206}


@S3.operation
def delete_object(region: Region, params: Params) -> None:
    """Delete an object; a missing object is not an error."""
    bucket_of(region, params).objects.pop(params["Key"], None)


@S3.operation
def list_objects_v2(region: Region, params: Params) -> Params:
    bucket, prefix = bucket_of(region, params), params.get("Prefix", "")
    found = [
        {"Key": key, "Size": len(data), "ETag": bucket.etags[key], "LastModified": bucket.stored[key]}
        for key, data in sorted(bucket.objects.items())
        if key.startswith(prefix)
    ]
    return {"Name": params["Bucket"], "Prefix": prefix, "KeyCount": len(found), "IsTruncated": False, "Contents": found}


@S3.operation
def create_multipart_upload(region: Region, params: Params) -> Params:
    bucket, made = bucket_of(region, params), region.world.hex(32)
    bucket.uploads[made] = Upload(params["Key"], region.now)
    return {"Bucket": params["Bucket"], "Key": params["Key"], "UploadId": made}


def upload_of(region: Region, params: Params) -> Upload:
    found = bucket_of(region, params).uploads.get(params["UploadId"])
    if found is None or found.key != params["Key"]:
        raise AwsError("NoSuchUpload", "The specified upload does not exist.", 404, UploadId=params["UploadId"])
    return found


@S3.operation
def upload_part(region: Region, params: Params) -> Params:
    upload, number = upload_of(region, params), params["PartNumber"]
    if not 1 <= number <= MAX_PARTS:
        raise AwsError("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
    check_sum(params)
    upload.parts[number] = params["Body"]
    return {"ETag": etag(params["Body"])}


@S3.operation
def list_parts(region: Region, params: Params) -> Params:
    upload = upload_of(region, params)
    parts = [{"PartNumber": n, "Size": len(data), "ETag": etag(data)} for n, data in sorted(upload.parts.items())]
    told = {key: params[key] for key in ("Bucket", "Key", "UploadId")}
    return {**told, "IsTruncated": False, "Parts": parts}


@S3.operation
def complete_multipart_upload(region: Region, params: Params) -> Params:
    bucket, upload = bucket_of(region, params), upload_of(region, params)
    listed = params.get("MultipartUpload", {}).get("Parts", [])
    numbers = [part["PartNumber"] for part in listed]
    if not numbers:
        raise AwsError("MalformedXML", "You must specify at least one part")
    if numbers != sorted(set(numbers)):
        raise AwsError("InvalidPartOrder", "The list of parts was not in ascending order.")
    for part in listed:
        if etag(upload.parts.get(part["PartNumber"], b"?")).strip('"') != part["ETag"].strip('"'):
            raise AwsError("InvalidPart", "One or more of the specified parts could not be found.")
    if any(len(upload.parts[number]) < MIN_PART for number in numbers[:-1]):
        raise AwsError("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
    chosen = [upload.parts[number] for number in numbers]
    digest = hashlib.md5(b"".join(hashlib.md5(data).digest() for data in chosen)).hexdigest()
    bucket.keep(upload.key, b"".join(chosen), f'"{digest}-{len(chosen)}"', region.now)
    del bucket.uploads[params["UploadId"]]
    return {"Bucket": params["Bucket"], "Key": upload.key, "ETag": bucket.etags[upload.key]}


@S3.operation
def abort_multipart_upload(region: Region, params: Params) -> None:
    upload_of(region, params)
    del bucket_of(region, params).uploads[params["UploadId"]]


@S3.operation
def list_multipart_uploads(region: Region, params: Params) -> Params:
    uploads, prefix = bucket_of(region, params).uploads, params.get("Prefix", "")
    told = [
        {"Key": one.key, "UploadId": name, "Initiated": one.started}
        for name, one in uploads.items()
        if one.key.startswith(prefix)
    ]
    return {"Bucket": params["Bucket"], "IsTruncated": False, "Uploads": told}
