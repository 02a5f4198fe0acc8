/** Reflection: what a listener tells of its contracts. */
import { fromBinary } from "@bufbuild/protobuf"
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt"
import { describe, expect } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import {
  Authorizer,
  type CallError,
  Health,
  Middleware,
  PermissionDenied,
  Reflection,
  Transport
} from "effect-transport"
import { EchoService, echo } from "./fixtures/echo.js"
import { closable, soon } from "./fixtures/expect.js"
import type { Suite } from "./harness.js"

const name = EchoService.typeName
const file = EchoService.file.proto.name
const own = [Reflection.Contract.typeName, Reflection.AlphaContract.typeName]

const EchoHandlers = Transport.handlers(EchoService, echo)

interface Question {
  readonly host?: string
  readonly messageRequest?: {
    readonly case: "fileByFilename" | "fileContainingSymbol" | "listServices"
    readonly value: string
  }
}

interface Answer {
  readonly messageResponse: { readonly case: string | undefined; readonly value?: unknown }
}

/** A client of either version. */
interface Client {
  readonly serverReflectionInfo: (questions: Stream.Stream<Question>) => Stream.Stream<Answer, CallError>
}

const ask = ({ serverReflectionInfo }: Client, ...questions: ReadonlyArray<Question>) =>
  Effect.map(Stream.runCollect(serverReflectionInfo(Stream.fromIterable(questions))), (all) =>
    Chunk.toReadonlyArray(all).map(({ messageResponse }) => messageResponse)
  )

const listServices: Question = { messageRequest: { case: "listServices", value: "*" } }
const byName = (value: string): Question => ({ messageRequest: { case: "fileByFilename", value } })
const bySymbol = (value: string): Question => ({ messageRequest: { case: "fileContainingSymbol", value } })

const list = (...services: ReadonlyArray<string>) => ({
  case: "listServicesResponse",
  value: { service: services.map((name) => ({ name })) }
})
const notFound = { case: "errorResponse", value: { errorCode: 5, errorMessage: expect.stringContaining("not found") } }

/** The bytes of files, and nothing for another answer. */
const FilesAnswer = Schema.Struct({
  case: Schema.Literal("fileDescriptorResponse"),
  value: Schema.Struct({ fileDescriptorProto: Schema.Array(Schema.Uint8ArrayFromSelf) })
})

const filesOf = (answer: unknown) =>
  Schema.is(FilesAnswer)(answer)
    ? answer.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes))
    : []

export const reflection = ({ test }: Suite): void => {
  describe("reflection", () => {
    test("is off unless asked for", function* () {
      const { target } = yield* Transport.listen([EchoHandlers])
      for (const contract of [Reflection.Contract, Reflection.AlphaContract]) {
        const client = yield* Transport.client(contract, target)
        expect(yield* Effect.flip(ask(client, listServices))).toMatchObject({ _tag: "Unimplemented" })
      }
    })

    test("tells of exactly the services of the listener, in both versions, and of their files", function* () {
      const listener = Transport.listen([EchoHandlers, Health.handlers, Reflection.handlers])
      const { target } = yield* Effect.provide(listener, Health.layer)
      for (const contract of [Reflection.Contract, Reflection.AlphaContract]) {
        const client = yield* Transport.client(contract, target)
        const [services, byService, byMethod, byField, ...unknown] = yield* ask(
          client,
          listServices,
          bySymbol(name),
          bySymbol(`${name}.Echo`),
          bySymbol("echo.v1.EchoRequest.message"),
          bySymbol("echo.v1.Nothing"),
          bySymbol("echo.v1"),
          bySymbol(""),
          byName("dag/v1/dag.proto"),
          byName("__proto__")
        )
        expect(services).toMatchObject(list(name, Health.Contract.typeName, ...own))
        for (const each of [byService, byMethod, byField]) {
          const files = filesOf(each)
          expect(files.map(({ name }) => name)).toEqual([file])
          expect(files[0]?.service.map(({ method, name }) => [name, method.map((each) => each.name)])).toEqual([
            ["EchoService", EchoService.methods.map(({ name }) => name)]
          ])
        }
        expect(unknown).toMatchObject([notFound, notFound, notFound, notFound, notFound])
      }
    })

    test("of a layer is that of all listeners under it, whatever stands around their calls", function* () {
      const refuse = Middleware.server({
        run: () => Effect.fail(new PermissionDenied({ message: "not today" }))
      })
      const open = yield* Effect.provide(Transport.listen([EchoHandlers]), Reflection.layer)
      const both = yield* Effect.provide(Transport.listen([EchoHandlers, Reflection.handlers]), Reflection.layer)
      const closed = yield* Effect.provide(
        Transport.listen([EchoHandlers], { middleware: [refuse] }),
        Layer.fresh(Reflection.layer)
      )
      for (const { target } of [open, both]) {
        const client = yield* Transport.client(Reflection.Contract, target)
        expect(yield* ask(client, listServices)).toMatchObject([list(name, ...own)])
      }
      const refused = yield* Transport.client(Reflection.Contract, closed.target)
      expect(yield* Effect.flip(ask(refused, listServices))).toMatchObject({ message: "not today" })
    })

    test("stands behind authorizers, and hides what these let a peer call nothing of", function* () {
      const nobody = Authorizer.either()
      const secret = Transport.handlers(EchoService, echo, { authorize: nobody })
      const { target } = yield* Transport.listen([secret, Reflection.handlers])
      const client = yield* Transport.client(Reflection.Contract, target)
      expect(
        yield* ask(client, listServices, bySymbol(name), bySymbol("echo.v1.EchoRequest"), byName(file))
      ).toMatchObject([list(...own), notFound, notFound, notFound])

      const partly = Transport.handlers(EchoService, echo, {
        authorize: { echo: Authorizer.any, echoServerStream: nobody, echoClientStream: nobody, echoBidi: nobody }
      })
      const other = yield* Transport.listen([partly, Reflection.handlers])
      const otherClient = yield* Transport.client(Reflection.Contract, other.target)
      expect(yield* ask(otherClient, listServices)).toMatchObject([list(name, ...own)])

      const closed = yield* Transport.listen([EchoHandlers, Reflection.handlers({ authorize: nobody })])
      const refused = yield* Transport.client(Reflection.Contract, closed.target)
      expect(yield* Effect.flip(ask(refused, listServices))).toMatchObject({ _tag: "PermissionDenied" })
    })

    test("refuses empty questions and endless names, and answers many questions one by one", function* () {
      const { target } = yield* Transport.listen([EchoHandlers, Reflection.handlers])
      const client = yield* Transport.client(Reflection.Contract, target)
      for (const question of [{}, bySymbol("x".repeat(5000)), { ...listServices, host: "x".repeat(100_000) }]) {
        expect(yield* Effect.flip(ask(client, question))).toMatchObject({ _tag: "InvalidArgument" })
      }
      const many = Array.from({ length: 500 }, (_, i) => (i % 2 === 0 ? bySymbol(name) : bySymbol(`nothing${i}`)))
      const answers = yield* ask(client, ...many)
      expect(answers.map((each) => each.case)).toEqual(
        many.map((_, i) => (i % 2 === 0 ? "fileDescriptorResponse" : "errorResponse"))
      )
    })

    test("that a caller keeps open does not hold up a listener that closes", function* () {
      const [{ target }, close] = yield* closable(
        Transport.listen([EchoHandlers, Reflection.handlers], { gracePeriod: "1 minute" })
      )
      const client = yield* Transport.client(Reflection.Contract, target)
      const answered = yield* Queue.unbounded<unknown>()
      const fiber = yield* Effect.fork(
        Stream.runForEach(
          client.serverReflectionInfo(Stream.concat(Stream.make(listServices), Stream.never)),
          (answer) => Queue.offer(answered, answer)
        )
      )
      yield* soon(Queue.take(answered))
      yield* soon(close)
      yield* soon(Fiber.join(fiber))
    })
  })
}
