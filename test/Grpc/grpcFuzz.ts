import { create, type DescMessage, fromBinary, toBinary } from "@bufbuild/protobuf"
import { StructSchema } from "@bufbuild/protobuf/wkt"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import { Metadata as GrpcJsMetadata } from "@grpc/grpc-js"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import { GossipMessageSchema } from "../../examples/gen/dag/v1/dag_pb.js"
import * as GrpcMetadata from "../../src/Grpc/internal/grpcJs/GrpcMetadata.js"
import * as GrpcStatus from "../../src/Grpc/internal/grpcJs/GrpcStatus.js"
import * as GrpcRefusal from "../../src/Grpc/internal/grpcRefusal.js"
import { StatusSchema } from "../../src/gen/google/rpc/status_pb.js"
import * as Entries from "../../src/protocol/Entries.js"
import type { Field, Fields } from "../../src/protocol/Fields.js"
import * as GrpcFields from "../../src/protocol/grpc/GrpcFields.js"
import * as GrpcMessage from "../../src/protocol/grpc/GrpcMessage.js"
import * as GrpcTimeout from "../../src/protocol/grpc/GrpcTimeout.js"
import * as ProtobufScan from "../../src/protocol/protobuf/ProtobufScan.js"
import type * as FrameScan from "../../src/Rpc/internal/frameScan.js"
import * as Frames from "../../src/Rpc/internal/frames.js"
import * as JsonScan from "../../src/Rpc/internal/jsonScan.js"
import * as MsgPackScan from "../../src/Rpc/internal/msgPackScan.js"
import * as ErrorDetails from "../../src/Transport/ErrorDetails.js"
import * as StatusFields from "../../src/Transport/internal/statusFields.js"
import * as Metadata from "../../src/Transport/Metadata.js"
import { HandshakeReason } from "../../src/Transport/TransportError.js"

const where = { method: "/a.B/C", peer: "a.example:1" }

const text = new TextEncoder()

const serializations = {
  MessagePack: RpcSerialization.msgPack,
  JSON: RpcSerialization.json,
  NDJSON: RpcSerialization.ndjson
}

const limits: FrameScan.Limits = { maxFrameSize: 64 * 1024, maxFrameElements: 100 }

/** Fails where what must hold does not. */
const check = (holds: boolean, message: () => string): void => {
  if (!holds) {
    throw new Error(message())
  }
}

/** Takes inputs made of a seed and returns how often each outcome came, by kind of input. */
export const fuzz = (runs: number, seed: number, onRun: (run: number) => void): Map<string, number> => {
  let state = seed
  /** Mulberry32: small, fast, and the same for the same seed. */
  const random = (): number => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (n: number) => Math.floor(random() * n)
  const oneOf = <A>(first: A, ...others: ReadonlyArray<A>): A => others[below(others.length + 1)] ?? first
  const randomBytes = (most: number) => Buffer.from(Array.from({ length: below(most) }, () => below(256)))
  /** Any UTF-16, lone surrogates included. */
  const randomText = (most: number) =>
    String.fromCharCode(...Array.from({ length: below(most) }, () => below(oneOf(128, 256, 65_536))))

  const mutated = (honest: Uint8Array): Buffer => {
    const bytes = Buffer.from(honest)
    switch (below(6)) {
      case 0:
        return randomBytes(80)
      case 1:
        return bytes
      case 2:
        return bytes.subarray(0, below(bytes.length))
      default:
        for (let i = 0; i <= below(5) && bytes.length > 0; i++) {
          bytes[below(bytes.length)] = below(256)
        }
        return bytes
    }
  }
  const mutatedText = (honest: string): string => mutated(Buffer.from(honest)).toString(oneOf("latin1", "utf8"))

  const names = ["x-a", "x-b-bin", "authorization", "etag", "grpc-status-details-bin", "content-type", "te", ":path"]
  const name = () => oneOf("x-a", ...names)

  const grpcMetadata = (): GrpcJsMetadata => {
    const metadata = new GrpcJsMetadata()
    for (let i = below(5); i > 0; i--) {
      const key = below(3) === 0 ? mutatedText(name()) : name()
      try {
        metadata.add(key, key.toLowerCase().endsWith("-bin") ? mutated(details()) : mutatedText("value"))
      } catch {
        // What grpc-js would not have let through.
      }
    }
    return metadata
  }

  const fields = (): Fields =>
    Array.from({ length: below(6) }, () =>
      oneOf<Field>(
        ["grpc-status", mutatedText(String(below(20)))],
        ["grpc-message", mutatedText(oneOf("a%20b", "%", "%E4%BD%A0%ZZ", "%25%3F"))],
        ["grpc-status-details-bin", mutatedText(details().toString("base64"))],
        ["content-type", mutatedText("application/grpc+proto")],
        ["x-b-bin", mutatedText("AAEC,AwQF=, !")],
        [name(), randomText(20)]
      )
    )

  const details = (): Buffer =>
    Buffer.from(
      ErrorDetails.encodeToSend({
        code: oneOf<3 | 5 | 14>(3, 5, 14),
        message: "text",
        details: [
          ErrorDetails.pack(ErrorDetails.RetryInfo, { retryDelay: { seconds: BigInt(below(9)) } }),
          ErrorDetails.pack(ErrorDetails.ErrorInfo, { reason: "A", metadata: { a: "b" } })
        ].slice(below(2))
      })
    )

  const schemas: ReadonlyArray<readonly [DescMessage, Uint8Array]> = [
    [StatusSchema, details()],
    [GossipMessageSchema, toBinary(GossipMessageSchema, create(GossipMessageSchema, {}))],
    [
      StructSchema,
      toBinary(StructSchema, create(StructSchema, { fields: { a: { kind: { case: "numberValue", value: 1 } } } }))
    ]
  ]
  const counters = schemas.map(([schema, honest]) => ({ schema, honest, count: ProtobufScan.makeCounter(schema) }))

  const frame = (): unknown => ({
    _tag: oneOf("Request", "Ack", "Interrupt", "Chunk", "Exit"),
    id: oneOf<unknown>("1", String(below(1000)), "", 5),
    requestId: "1",
    tag: "Ping",
    payload: oneOf<unknown>(null, { text: "a" }, [1, 2, [3]], 0.5),
    headers: [["a", "b"]],
    values: [1],
    exit: { _tag: "Success", value: 1 }
  })

  const encodedFrames = (serialization: RpcSerialization.RpcSerialization["Type"]): Buffer =>
    Buffer.concat(
      Array.from({ length: 1 + below(3) }, () => {
        const encoded = serialization.unsafeMake().encode(frame()) ?? ""
        return typeof encoded === "string" ? text.encode(encoded) : encoded
      })
    )

  const pieces = (bytes: Uint8Array): ReadonlyArray<Uint8Array> => {
    const all: Array<Uint8Array> = []
    for (let at = 0; at < bytes.length; ) {
      const size = 1 + below(40)
      all.push(bytes.subarray(at, at + size))
      at += size
    }
    return all
  }

  const kinds = {
    metadata: () => {
      const received = grpcMetadata()
      const custom = oneOf(GrpcMetadata.ofRequest, GrpcMetadata.ofResponse)(received)
      // What has been received can be passed on.
      const again = GrpcMetadata.ofRequest(GrpcMetadata.toGrpc(Metadata.filter(custom, Entries.isOfRequest)))
      check(again.entries.length <= custom.entries.length, () => JSON.stringify(custom))
      return Either.isRight(Metadata.fromInput(custom.entries)) ? "valid" : "not to be sent"
    },
    fields: () => {
      const received = fields()
      const metadata = Metadata.unsafeFromEntries(GrpcFields.ofResponse(received))
      GrpcFields.ofRequest(received)
      return (
        StatusFields.checkHead(oneOf(200, 404, below(1000)), received, where)?._tag ??
        StatusFields.toError(received, metadata, where)?._tag ??
        "OK"
      )
    },
    refusal: () => {
      const bytes = mutated(GrpcRefusal.encode(oneOf("Refused", ...HandshakeReason.literals)))
      const reason = GrpcRefusal.decode(bytes)
      return GrpcRefusal.isHttp2(bytes) ? (Option.isSome(reason) ? "refused" : "HTTP/2") : "not HTTP/2"
    },
    timeout: () => {
      const millis = GrpcTimeout.parse(mutatedText(GrpcTimeout.format(1 + random() * 10 ** below(16))))
      if (millis === undefined) {
        return "none"
      }
      check(millis >= 0 && Number.isFinite(millis), () => String(millis))
      if (millis > 0) {
        const again = GrpcTimeout.parse(GrpcTimeout.format(millis))
        check(again !== undefined && again >= millis, () => String(millis))
      }
      return "a duration"
    },
    status: () => {
      const error = GrpcStatus.fromStatus(
        { code: oneOf(below(17), below(100), -1, 0.5), details: randomText(40), metadata: grpcMetadata() },
        where,
        below(2) === 0
      )
      const sent = GrpcStatus.toStatus(error, error.metadata)
      check(encodeURI(sent.details).length <= 3 * 4096, () => sent.details)
      StatusFields.fromError(error, error.metadata)
      return error._tag
    },
    details: () => {
      const decoded = ErrorDetails.decodeStatus(mutated(details()))
      for (const schema of [ErrorDetails.RetryInfo, ErrorDetails.ErrorInfo, ErrorDetails.BadRequest]) {
        ErrorDetails.get({ details: decoded }, schema)
      }
      return String(decoded.length)
    },
    protobuf: () => {
      const { count, honest, schema } = counters[below(counters.length)] ?? counters[0] ?? never()
      const bytes = mutated(Buffer.concat([honest, honest]))
      const limit = below(60)
      const elements = count(bytes, limit)
      if (elements < 0) {
        return "malformed"
      }
      if (elements > limit) {
        return "too many"
      }
      try {
        fromBinary(schema, bytes)
        return "decoded"
      } catch {
        return "not decoded"
      }
    },
    message: () => {
      const honest = Buffer.concat(
        [randomBytes(30), randomBytes(300)].map((message) => {
          const prefix = Buffer.alloc(GrpcMessage.prefixSize)
          GrpcMessage.writePrefix(prefix, 0, message.length)
          return Buffer.concat([prefix, message])
        })
      )
      const bytes = mutated(honest)
      const takesCompressed = oneOf(true, false)
      const hear = (chunks: ReadonlyArray<Uint8Array>): ReadonlyArray<string> => {
        const heard: Array<string> = []
        const decoder = GrpcMessage.makeDecoder(200)
        decoder.takesCompressed = takesCompressed
        const events: GrpcMessage.Events<undefined> = {
          onMessage: (message, _, isCompressed) =>
            heard.push(`${Buffer.from(message).toString("hex")} ${isCompressed}`),
          onBroken: (why) => heard.push(why)
        }
        for (const chunk of chunks) {
          GrpcMessage.receive(decoder, events, undefined, Buffer.from(chunk))
        }
        heard.push(String(GrpcMessage.isMidMessage(decoder)))
        return heard
      }
      const whole = hear([bytes])
      check(whole.join() === hear(pieces(bytes)).join(), () => bytes.toString("hex"))
      const last = whole.at(-2)
      return last === "TooLarge" || last === "Compressed" || last === "Malformed" ? last : "read"
    },
    frames: () => {
      const [format, serialization] = oneOf(
        ["JSON", serializations.JSON] as const,
        ["MessagePack", serializations.MessagePack] as const,
        ["NDJSON", serializations.NDJSON] as const
      )
      const bytes = mutated(encodedFrames(serialization))
      const hear = (chunks: ReadonlyArray<Uint8Array>): ReadonlyArray<string> => {
        const of = Frames.formatOf(serialization)
        const parser = Frames.makeParser(serialization, of, limits)
        const reader = Frames.makeReader(serialization, of, parser, limits)
        const heard: Array<string> = []
        for (const chunk of chunks) {
          reader.push(chunk)
          let next = reader.next()
          while (Either.isRight(next) && next.right !== undefined) {
            heard.push(next.right._tag)
            next = reader.next()
          }
          if (Either.isLeft(next)) {
            heard.push("refused")
            break
          }
        }
        return heard
      }
      const whole = hear([bytes])
      // JSON has a frame in a message.
      const cut = format === "JSON" ? whole : hear(pieces(bytes))
      check(whole.join() === cut.join(), () => `${format} ${bytes.toString("hex")}: ${whole} and ${cut}`)
      return `${format} ${whole.at(-1) === "refused" ? "refused" : "read"}`
    },
    scan: () => {
      const [isMsgPack, serialization] = oneOf(
        [true, serializations.MessagePack] as const,
        [false, serializations.NDJSON] as const
      )
      const bytes = mutated(encodedFrames(serialization))
      const scan = isMsgPack ? MsgPackScan.make(limits) : JsonScan.make(limits, true)
      let start = 0
      let result: number | string = 0
      for (let end = 1; end <= bytes.length; end++) {
        result = scan.next(bytes, start, end)
        if (typeof result === "string") {
          return "refused"
        }
        check(result === 0 || start + result === end, () => `${bytes.toString("hex")} ${start} ${end} ${result}`)
        start += result
      }
      return result === 0 ? "goes on" : "complete"
    }
  }

  const run = Object.entries(kinds)
  const outcomes = new Map<string, number>()
  for (let i = 1; i <= runs; i++) {
    const [kind, once] = run[below(run.length)] ?? ["metadata", kinds.metadata]
    const before = state
    const started = performance.now()
    let outcome: string
    try {
      outcome = `${kind}: ${once()}`
    } catch (cause) {
      throw new Error(`${kind}, with the state ${before}`, { cause })
    }
    const millis = performance.now() - started
    check(millis < maxMillis, () => `${kind}, with the state ${before}, took ${millis} ms`)
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
    onRun(i)
  }
  return outcomes
}

/** No input takes more than a fraction of a millisecond; a machine that is busy does. */
const maxMillis = 2000

const never = (): never => {
  throw new Error("no such kind")
}
