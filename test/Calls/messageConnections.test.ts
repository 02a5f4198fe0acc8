import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { Authorizer, Metadata, Service, Transport, TransportOptions } from "effect-transport"
import * as ClientConnection from "../../src/Calls/ClientConnection.js"
import * as ServerConnection from "../../src/Calls/ServerConnection.js"
import * as WireTransport from "../../src/Calls/WireTransport.js"
import * as Boundary from "../../src/Transport/internal/boundary.js"
import { eventually, leavesNothing } from "../suite/fixtures/expect.js"
import { method } from "../suite/fixtures/text.js"

const methods = {
  unary: method("/test.Text/Unary", "unary"),
  bidi: method("/test.Text/Bidi", "bidiStreaming")
}
const Text = Service.make("test.Text", methods)
const text = { unary: (request: string) => Effect.succeed(request), bidi: () => Stream.never }
const bytes = new TextEncoder().encode("x")
const settings = TransportOptions.withDefaults({ maxConcurrentStreams: 2, gracePeriod: 0 })
const limits = { maxConcurrentStreams: 1, maxMetadataSize: 16 * 1024, maxReceiveMessageSize: 1024 }

/** What was sent on a wire that only remembers, by name and number of the stream. */
const recorder = () => {
  const sent: Array<string> = []
  const record =
    (name: string) =>
    (id?: unknown): void => {
      sent.push(typeof id === "number" ? `${name} ${id}` : name)
    }
  return { sent, record }
}

/** A connection that a listener of these handlers has accepted. */
const accepted = (handlers: Transport.Handlers<never>, options: Transport.ListenOptions = {}) =>
  Effect.gen(function* () {
    const { record, sent } = recorder()
    let connection: ServerConnection.ServerConnection | undefined
    const service = yield* WireTransport.make(settings, {
      connect: () => Effect.dieMessage("nobody connects"),
      listen: (listening) =>
        Effect.sync(() => {
          connection = ServerConnection.make({
            peer: { address: "peer", identity: Option.none() },
            settings,
            listening,
            wire: {
              hello: record("hello"),
              refuse: record("refuse"),
              headers: record("headers"),
              message: record("message"),
              status: record("status"),
              read: record("read"),
              unprocessed: record("unprocessed"),
              goAway: record("goAway"),
              close: () => {
                sent.push("close")
                connection?.onEnd()
              }
            }
          })
          return { host: "test", port: 1 }
        }),
      description: "a test"
    })
    yield* Effect.provideService(Transport.listen([handlers], options), Transport.Transport, service)
    return connection === undefined ? yield* Effect.dieMessage("nothing listens") : { connection, sent }
  })

const open = (connection: ServerConnection.ServerConnection, id: number) =>
  connection.onOpen(id, methods.unary.path, [], Number.POSITIVE_INFINITY, bytes)

describe("ServerConnection", () => {
  it.live("serves calls, in the order of the frames", () =>
    Effect.gen(function* () {
      const { connection, sent } = yield* accepted(Transport.handlers(Text, text))
      connection.onReady(limits)
      open(connection, 1)
      yield* eventually(Effect.sync(() => expect(sent).toEqual(["hello", "headers 1", "message 1", "status 1"])))
    }).pipe(leavesNothing)
  )

  it.live("closes on a peer that does not wait until there is room for its message", () =>
    Effect.gen(function* () {
      const { connection, sent } = yield* accepted(Transport.handlers(Text, text))
      connection.onOpen(1, methods.bidi.path, [], Number.POSITIVE_INFINITY, undefined)
      for (let i = 0; i < 16; i += 1) {
        connection.onMessage(1, bytes)
      }
      expect(sent).toEqual(["hello"])
      connection.onMessage(1, bytes)
      expect(sent).toEqual(["hello", "close"])
    }).pipe(leavesNothing)
  )

  it.live("takes no more calls than it said, no number twice, and none once it has gone away", () =>
    Effect.gen(function* () {
      const { connection, sent } = yield* Effect.scoped(
        Effect.tap(
          accepted(Transport.handlers(Text, { ...text, unary: () => Effect.never })),
          ({ connection, sent }) => {
            connection.onReady(limits)
            for (const id of [1, 1, 2, 3]) {
              open(connection, id)
            }
            expect(sent).toEqual(["hello", "unprocessed 1", "unprocessed 3"])
            connection.onCancel(2)
            open(connection, 4)
            expect(sent).toEqual(["hello", "unprocessed 1", "unprocessed 3"])
          }
        )
      )
      expect(sent.slice(3)).toEqual(["goAway", "status 1", "status 4", "close"])
      open(connection, 5)
      expect(sent.at(-1)).toBe("unprocessed 5")
    }).pipe(leavesNothing)
  )

  it.live("tells a peer that it may not connect, and serves it nothing", () =>
    Effect.gen(function* () {
      const authorize = Authorizer.fingerprint("00".repeat(32))
      const { connection, sent } = yield* accepted(Transport.handlers(Text, text), { authorize })
      expect(sent).toEqual(["refuse", "close"])
      open(connection, 1)
      expect(sent.slice(2)).toEqual(["unprocessed 1"])
    }).pipe(leavesNothing)
  )
})

/** A connection to a peer that has said nothing yet. */
const connecting = Effect.gen(function* () {
  const { record, sent } = recorder()
  const connection = ClientConnection.make({
    peer: "peer",
    settings,
    boundary: yield* Boundary.make,
    wire: {
      hello: record("hello"),
      open: record("open"),
      message: record("message"),
      halfClose: record("halfClose"),
      read: record("read"),
      cancel: record("cancel"),
      close: record("close")
    }
  })
  return { connection, sent }
})

const call = {
  metadata: Metadata.empty,
  timeout: Number.POSITIVE_INFINITY,
  waitForReady: false,
  onHeaders: undefined,
  onTrailers: undefined
}

describe("ClientConnection", () => {
  it.effect("gives up a peer that does not say within 5 seconds that it takes calls", () =>
    Effect.gen(function* () {
      const { connection, sent } = yield* connecting
      const pending = yield* ClientConnection.reconnecting("peer", () => connection)
      const ready = yield* Effect.fork(Effect.flip(pending.ready(false)))
      yield* TestClock.adjust("4 seconds")
      expect(Option.isNone(yield* Fiber.poll(ready))).toBe(true)
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(ready)).toMatchObject({ _tag: "Unavailable", processed: "no" })
      expect(sent).toEqual(["hello", "close"])
    }).pipe(leavesNothing)
  )

  it.live("opens as many calls as the peer takes, and closes with the last one once the peer has gone away", () =>
    Effect.gen(function* () {
      const { connection, sent } = yield* connecting
      connection.onReady(limits)
      const unary = connection.connection.unary(methods.unary, "x", call)
      const first = yield* Effect.fork(unary)
      const second = yield* Effect.fork(Effect.flip(unary))
      yield* eventually(Effect.sync(() => expect(sent).toEqual(["hello", "open 0"])))
      connection.onGoAway()
      expect(yield* Fiber.join(second)).toMatchObject({ _tag: "Unavailable", processed: "no" })
      expect(sent).toEqual(["hello", "open 0"])
      connection.onHeaders(0, [])
      connection.onMessage(0, bytes)
      connection.onStatus(0, undefined, [])
      expect(yield* Fiber.join(first)).toBe("x")
      expect(sent).toContain("close")
    }).pipe(leavesNothing)
  )

  it.live("closes on a peer that does not wait until there is room for its message", () =>
    Effect.gen(function* () {
      const { connection, sent } = yield* connecting
      connection.onReady(limits)
      const answers = connection.connection.stream(methods.bidi, Stream.never, call)
      const fiber = yield* Effect.fork(Effect.flip(Stream.runForEach(answers, () => Effect.never)))
      yield* eventually(Effect.sync(() => expect(sent).toEqual(["hello", "open 0"])))
      for (let i = 0; i < 17; i += 1) {
        connection.onMessage(0, bytes)
      }
      expect(sent).toEqual(["hello", "open 0", "close"])
      connection.onEnd()
      expect(yield* Effect.exit(Fiber.interrupt(fiber))).toMatchObject({ _tag: "Success" })
    }).pipe(leavesNothing)
  )
})
