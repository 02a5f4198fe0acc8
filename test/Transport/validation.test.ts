import { clone, create, createFileRegistry, setExtension } from "@bufbuild/protobuf"
import { FieldOptionsSchema, FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt"
import {
  FieldRulesSchema,
  field,
  file_buf_validate_validate
} from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import {
  Credentials,
  ErrorDetails,
  GrpcLive,
  type InvalidArgument,
  MemoryLive,
  Metadata,
  Middleware,
  QuicLive,
  TlsLive,
  Transport
} from "effect-transport"
import { echo, messages, numbered } from "../suite/fixtures/echo.js"
import { leavesNothing } from "../suite/fixtures/expect.js"
import { captureLog } from "../suite/fixtures/observe.js"
import { Shout } from "../suite/fixtures/text.js"
import { type EchoService, file_echo_v1_echo } from "../suite/gen/echo/v1/echo_pb.js"

type Rules = Parameters<typeof create<typeof FieldRulesSchema>>[1]

/** The echo service, whose requests have rules for some of their fields, as protoc-gen-es would generate it. */
const echoWith = (rules: { readonly [name: string]: Rules }): typeof EchoService => {
  const file = clone(FileDescriptorProtoSchema, file_echo_v1_echo.proto)
  file.dependency = ["buf/validate/validate.proto"]
  for (const each of file.messageType.find(({ name }) => name === "EchoRequest")?.field ?? []) {
    if (each.name in rules) {
      each.options = create(FieldOptionsSchema)
      setExtension(each.options, field, create(FieldRulesSchema, rules[each.name]))
    }
  }
  const registry = createFileRegistry(file, (name) =>
    name === "buf/validate/validate.proto" ? file_buf_validate_validate : undefined
  )
  return registry.getService("echo.v1.EchoService") as typeof EchoService
}

const shortAndFew = echoWith({
  message: { type: { case: "string", value: { minLen: 1n, maxLen: 5n } } },
  repeat: { type: { case: "uint32", value: { lessThan: { case: "lte", value: 3 } } } }
})

const serve = (options?: Middleware.ValidationOptions) =>
  Effect.gen(function* () {
    const validation = yield* Middleware.validation(options)
    const { target } = yield* Transport.listen([Transport.handlers(shortAndFew, echo, { middleware: [validation] })])
    return yield* Transport.client(shortAndFew, target)
  })

const violationsOf = (error: InvalidArgument) =>
  Option.match(ErrorDetails.get(error, ErrorDetails.BadRequest), {
    onNone: () => [],
    onSome: ({ fieldViolations }) =>
      fieldViolations.map(({ description, field, reason }) => [field, description, reason])
  })

const tooLong = ["message", "must be at most 5 characters", "string.max_len"]
const tooMany = ["repeat", "must be less than or equal to 3", "uint32.lte"]

const dev = Credentials.layerDev()

for (const [name, layer] of [
  ["MemoryLive", MemoryLive],
  ["GrpcLive", Layer.provide(GrpcLive, dev)],
  ["TlsLive", Layer.provide(TlsLive, dev)],
  ["QuicLive", Layer.provide(QuicLive, dev)]
] as const) {
  describe(`Middleware.validation over ${name}`, () => {
    const test = (title: string, body: Effect.Effect<void, unknown, Transport.Transport | Scope.Scope>) =>
      it.live(title, () => leavesNothing(Effect.provide(body, layer as Layer.Layer<Transport.Transport, unknown>)))

    test(
      "lets pass what keeps the rules",
      Effect.gen(function* () {
        const client = yield* serve()
        expect((yield* client.echo({ message: "12345" })).message).toBe("12345")
        expect(yield* messages(client.echoServerStream({ message: "1", repeat: 3 }))).toEqual(["1", "1", "1"])
        expect((yield* client.echoClientStream(numbered(3))).message).toBe("123")
        expect(yield* messages(client.echoBidi(numbered(3)))).toEqual(["1", "2", "3"])
      })
    )

    test(
      "says which field of a request breaks which rule, of every shape",
      Effect.gen(function* () {
        const client = yield* serve()
        const bad = { message: "too long" }
        for (const call of [
          client.echo(bad),
          Stream.runDrain(client.echoServerStream(bad)),
          client.echoClientStream(Stream.make({ message: "good" }, bad)),
          Stream.runDrain(client.echoBidi(Stream.make({ message: "good" }, bad)))
        ]) {
          const error = yield* Effect.flip(call)
          expect(error).toMatchObject({ _tag: "InvalidArgument", message: "message: must be at most 5 characters" })
          expect(error._tag === "InvalidArgument" && violationsOf(error)).toEqual([tooLong])
          expect(error._tag === "InvalidArgument" && error.metadata).toEqual(Metadata.empty)
        }
      })
    )

    test(
      "says all that is wrong where it is told to",
      Effect.gen(function* () {
        const client = yield* serve({ failFast: false })
        const error = yield* Effect.flip(client.echo({ message: "too long", repeat: 4 }))
        expect(error.message).toBe("message: must be at most 5 characters (and 1 more)")
        expect(error._tag === "InvalidArgument" && violationsOf(error)).toEqual([tooLong, tooMany])
      })
    )
  })
}

describe("Middleware.validation", () => {
  it.live("lets pass what is no protobuf", () =>
    Effect.gen(function* () {
      const validation = yield* Middleware.validation()
      const { target } = yield* Transport.listen(
        [Transport.handlers(Shout, { shout: (text) => Effect.succeed(text.toUpperCase()) })],
        { middleware: [validation] }
      )
      const client = yield* Transport.client(Shout, target)
      expect(yield* client.shout("hello")).toBe("HELLO")
    }).pipe(leavesNothing, Effect.provide(MemoryLive))
  )

  it.live("refuses a contract whose rules do not compile when the listener begins", () =>
    Effect.gen(function* () {
      const validation = yield* Middleware.validation()
      const wrong = echoWith({ message: { type: { case: "uint32", value: {} } } })
      const exit = yield* Effect.exit(Transport.listen([Transport.handlers(wrong, echo, { middleware: [validation] })]))
      expect(String(exit)).toContain("CompilationError")
    }).pipe(leavesNothing, Effect.provide(MemoryLive))
  )

  it.live("keeps to itself a rule that can't be evaluated", () =>
    Effect.gen(function* () {
      const log = yield* captureLog
      const wrong = echoWith({
        message: {
          cel: [{ id: "secret.rule", message: "", expression: "this.size() / 0 == 1" }]
        }
      })
      const client = yield* Effect.gen(function* () {
        const validation = yield* Middleware.validation()
        const { target } = yield* Transport.listen([Transport.handlers(wrong, echo, { middleware: [validation] })])
        return yield* Transport.client(wrong, target)
      }).pipe(Effect.provide(log.layer))
      expect(yield* Effect.flip(client.echo({ message: "1" }))).toMatchObject({
        _tag: "Internal",
        message: "internal error"
      })
      expect(log.lines.map(({ text }) => text).join("\n")).toContain("RuntimeError")
    }).pipe(leavesNothing, Effect.provide(MemoryLive))
  )
})
