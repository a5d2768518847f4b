"""What a presigned URL leads to: one object, read or written by whoever has the URL."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs

from pys_multi.errors import HTTPError, NotFound, ResourceError
from pys_multi.http import Request, Response
from pys_multi.runtime import problem
from pys_multi_providers.local.front import BUCKETS_PATH
from pys_multi_providers.local.resources import LocalBackend


class PresignedBuckets:
    """GET, HEAD and PUT of objects below ``/.pys-multi/buckets/``."""

    def __init__(self, backend: LocalBackend) -> None:
        self._backend = backend

    async def presigned(self, request: Request) -> Response:
        """The object, or that it was written; 403 for a URL that is not valid or no longer."""
        try:
            return await asyncio.to_thread(self._answer, request)
        except HTTPError as error:
            return problem(error, request)
        except NotFound:
            return problem(HTTPError(404, "there is no such object"), request)
        except ResourceError:
            return problem(HTTPError(503, "the bucket cannot be reached"), request)

    def _answer(self, request: Request) -> Response:
        bucket, _, key = request.path.removeprefix(BUCKETS_PATH).partition("/")
        query = {name: values[-1] for name, values in parse_qs(request.query_string, max_num_fields=20).items()}
        method = request.method
        if method not in ("GET", "HEAD", "PUT"):
            allow = {"allow": "GET, HEAD, PUT"}
            raise HTTPError(405, "a presigned URL is for GET or PUT", headers=allow)
        expires, signature = query.get("expires", ""), query.get("signature", "")
        if not bucket or not key or not self._backend.verify_presigned(method, bucket, key, expires, signature):
            raise HTTPError(403, "the URL is not valid for this request, or no longer")
        if method == "PUT":
            content_type = request.headers.get("content-type") or "application/octet-stream"
            etag = self._backend.bucket_put(bucket, key, request.body, content_type, {})
            return Response(status=200, headers={"etag": f'"{etag}"'})
        info = self._backend.bucket_head(bucket, key)
        if info is None:
            raise HTTPError(404, "there is no such object")
        body = self._backend.bucket_get(bucket, key)
        headers = {"etag": f'"{info.etag}"', "content-length": str(len(body)), "cache-control": "private"}
        # Whoever uploads chooses the type: a browser must not run it as a page of this origin.
        headers |= {"x-content-type-options": "nosniff", "content-security-policy": "sandbox"}
        response = Response(b"" if method == "HEAD" else body, headers=headers)
        return response.header("content-type", info.content_type or "application/octet-stream")
