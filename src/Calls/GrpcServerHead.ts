/** The head of a gRPC request as it was received, and the fields of its answer, on any HTTP. */
import { type Field, type Fields, sectionSize } from "../protocol/Fields.js"
import * as GrpcEncoding from "../protocol/grpc/GrpcEncoding.js"
import * as GrpcFields from "../protocol/grpc/GrpcFields.js"
import * as GrpcTimeout from "../protocol/grpc/GrpcTimeout.js"
import type { RequestHead } from "../protocol/http/HttpFields.js"
import * as StatusFields from "../Transport/internal/statusFields.js"
import * as Metadata from "../Transport/Metadata.js"
import type { StatusError } from "../Transport/TransportError.js"

/** What gRPC reads in the head of a request. */
export interface ServerHead {
  /** How its messages may be compressed. */
  readonly encoding: string
  /** Whether those of the answer may be compressed with gzip. */
  readonly acceptsGzip: boolean
  /** Milliseconds; `Infinity` where there is none, and `NaN` where it is malformed. */
  readonly timeout: number
  readonly metadata: Metadata.Metadata
}

/** Calls that begin alike have one head (`HeadCache`), which is read once. Metadata mostly makes them differ. */
const headCache = new WeakMap<RequestHead, ServerHead>()

export const read = (head: RequestHead): ServerHead => {
  const before = headCache.get(head)
  if (before !== undefined) {
    return before
  }
  const { fields } = head
  const timeout = GrpcFields.get(fields, "grpc-timeout")
  const entries = GrpcFields.ofRequest(fields)
  const serverHead: ServerHead = {
    encoding: GrpcFields.get(fields, GrpcEncoding.encodingName) ?? GrpcEncoding.identity,
    acceptsGzip: GrpcEncoding.acceptsGzip(fields),
    timeout: timeout === undefined ? Number.POSITIVE_INFINITY : (GrpcTimeout.parse(timeout) ?? Number.NaN),
    metadata: entries.length === 0 ? Metadata.empty : Metadata.unsafeFromEntries(entries)
  }
  if (entries.length === 0) {
    headCache.set(head, serverHead)
  }
  return serverHead
}

/** Why a call is rejected whose messages can't be read. */
export const checkEncoding = ({ encoding }: ServerHead): StatusError | undefined =>
  GrpcEncoding.isAccepted(encoding) ? undefined : StatusFields.unsupportedEncoding(encoding, GrpcEncoding.accepted)

/** Whether a request is a call. */
export const isGrpc = ({ fields, method }: RequestHead): boolean =>
  method === "POST" && GrpcFields.isGrpc(GrpcFields.get(fields, "content-type"))

const contentType: Field = ["content-type", GrpcFields.contentType]

/** The head of an answer, before its metadata. */
export const responseHead: Fields = [[":status", "200"], contentType]

/** The same for an answer whose messages are compressed. */
export const compressedHead: Fields = [...responseHead, [GrpcEncoding.encodingName, GrpcEncoding.gzip]]

/** The trailers of a call that succeeded, before their metadata. */
export const okTrailer: Fields = [GrpcFields.ok]

/** The trailers of an error. The status itself must arrive: it goes alone where the peer does not take the rest. */
export const errorTrailer = (error: StatusError, trailers: Metadata.Metadata, maxSize: number): Fields => {
  const fields = StatusFields.fromError(error, trailers)
  return sectionSize(fields) <= maxSize ? fields : fields.slice(0, 1)
}
