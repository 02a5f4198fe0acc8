/** Metrics: each call counts once at each side, under its method and its own status. */
import { describe, expect } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { Authorizer, type Method, NotFound, RetryPolicy, Service, Transport, Unavailable } from "effect-transport"
import { EchoService, echo, numbered, payloadOf, serveEcho } from "./fixtures/echo.js"
import { closable, eventually, soon } from "./fixtures/expect.js"
import { type Measured, measuring } from "./fixtures/metrics.js"
import { follow } from "./fixtures/observe.js"
import type { Suite } from "./harness.js"

const service = "echo.v1.EchoService"

/** How often calls ended, at both sides, as `client Echo OK`. */
const endsOf = (all: ReadonlyArray<Measured>): Record<string, number> =>
  Object.fromEntries(
    all.flatMap(({ count, labels, name }) => {
      const side = /^rpc\.(client|server)\.call\.duration$/.exec(name)?.[1]
      const method = labels["rpc.method"]?.replace(`${service}/`, "")
      return side === undefined ? [] : [[`${side} ${method} ${labels["rpc.response.status_code"]}`, count]]
    })
  )

const both = (end: string) => ({ [`client ${end}`]: 1, [`server ${end}`]: 1 })

/** The one measurement of a name at one side. */
const only = (all: ReadonlyArray<Measured>, name: string, side?: string) => {
  const found = all.filter(({ labels, ...each }) => each.name === name && (side === undefined || labels.side === side))
  expect(found).toHaveLength(1)
  return found[0] as Measured
}

/** The same methods under another name. */
const invented = (name: string): typeof EchoService => {
  const entries = Object.entries(Service.from(EchoService).methods).map(([key, method]): [string, Method.Any] => [
    key,
    { ...method, path: `/${name}/${key}` }
  ])
  return Service.make(name, Object.fromEntries(entries)) as Service.Source as typeof EchoService
}

export const metrics = ({ test, withOptions }: Suite): void => {
  describe("metrics", () => {
    test("calls that succeed, of every shape", function* () {
      const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
      const since = yield* measuring
      yield* client.echo({ message: "one" })
      yield* Stream.runDrain(client.echoServerStream({ repeat: 3 }))
      yield* client.echoClientStream(numbered(2))
      yield* Stream.runDrain(client.echoBidi(numbered(2)))
      yield* eventually(
        Effect.map(since, (all) =>
          expect(endsOf(all)).toEqual({
            ...both("Echo OK"),
            ...both("EchoServerStream OK"),
            ...both("EchoClientStream OK"),
            ...both("EchoBidi OK")
          })
        )
      )
    })

    test("the labels are those of OpenTelemetry's conventions", function* () {
      const { client, listener } = yield* serveEcho(
        Transport.handlers(EchoService, { ...echo, echo: () => new NotFound({ message: "no such echo" }) })
      )
      const since = yield* measuring
      yield* Effect.flip(client.echo({}))
      const expected = {
        "rpc.system.name": expect.stringMatching(/^(grpc|effect_transport)$/),
        "rpc.method": `${service}/Echo`,
        "rpc.response.status_code": "NOT_FOUND",
        unit: "s"
      }
      const all = yield* since
      const { labels } = only(all, "rpc.client.call.duration")
      expect(labels).toEqual({
        ...expected,
        // What the caller did wrong is an error to the caller alone.
        "error.type": "NOT_FOUND",
        // Of a process that has called many servers, the later ones are not told apart.
        ...(labels["server.address"] === "other"
          ? { "server.address": "other" }
          : { "server.address": "127.0.0.1", "server.port": String(listener.address.port) })
      })
      expect(only(all, "rpc.server.call.duration").labels).toEqual(expected)
    })

    test("a stream that is cancelled half-way", function* () {
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, { ...echo, echoServerStream: () => Stream.concat(numbered(2), Stream.never) })
      )
      const since = yield* measuring
      yield* Stream.runDrain(Stream.take(client.echoServerStream({}), 2))
      yield* eventually(Effect.map(since, (all) => expect(endsOf(all)).toEqual(both("EchoServerStream CANCELLED"))))
    })

    test("a caller that is interrupted", function* () {
      const handler = yield* follow
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, { ...echo, echo: () => handler.run(Effect.never) })
      )
      const since = yield* measuring
      const fiber = yield* Effect.fork(client.echo({}))
      yield* handler.started
      yield* soon(Fiber.interrupt(fiber))
      yield* eventually(Effect.map(since, (all) => expect(endsOf(all)).toEqual(both("Echo CANCELLED"))))
    })

    test("a deadline", function* () {
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, { ...echo, echo: () => Effect.never, echoBidi: () => Stream.never })
      )
      const since = yield* measuring
      yield* Effect.flip(client.echo({}, { timeout: "1 second" }))
      yield* Effect.flip(Stream.runDrain(client.echoBidi(numbered(1), { timeout: "1 second" })))
      yield* eventually(
        Effect.map(since, (all) =>
          expect(endsOf(all)).toEqual({ ...both("Echo DEADLINE_EXCEEDED"), ...both("EchoBidi DEADLINE_EXCEEDED") })
        )
      )
    })

    test("a call that is refused", function* () {
      const { client } = yield* serveEcho(Transport.handlers(EchoService, echo, { authorize: Authorizer.either() }))
      const since = yield* measuring
      yield* Effect.flip(client.echo({}))
      yield* eventually(Effect.map(since, (all) => expect(endsOf(all)).toEqual(both("Echo PERMISSION_DENIED"))))
    })

    test("a defect", function* () {
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: () => Effect.die("boom"),
          echoServerStream: () => Stream.concat(numbered(1), Stream.die("boom"))
        })
      )
      const since = yield* measuring
      yield* Effect.flip(client.echo({}))
      yield* Effect.flip(Stream.runDrain(client.echoServerStream({})))
      yield* eventually(
        Effect.gen(function* () {
          const all = yield* since
          expect(endsOf(all)).toEqual({ ...both("Echo INTERNAL"), ...both("EchoServerStream INTERNAL") })
          const types = all.filter(({ name }) => name.startsWith("rpc.")).map(({ labels }) => labels["error.type"])
          expect(types).toEqual(["INTERNAL", "INTERNAL", "INTERNAL", "INTERNAL"])
        })
      )
    })

    test("a peer that is gone", function* () {
      const [listener, close] = yield* closable(Transport.listen([Transport.handlers(EchoService, echo)]))
      const client = yield* Transport.client(EchoService, listener.target)
      yield* client.echo({})
      yield* close
      const since = yield* measuring
      yield* Effect.flip(client.echo({}))
      yield* Effect.flip(Stream.runDrain(client.echoServerStream({})))
      expect(endsOf(yield* since)).toEqual({
        "client Echo UNAVAILABLE": 1,
        "client EchoServerStream UNAVAILABLE": 1
      })
    })

    test("what a peer invents is one method, whatever its name", function* () {
      const { listener } = yield* serveEcho(Transport.handlers(EchoService, echo))
      const since = yield* measuring
      for (const name of ["invented.v1.A", "invented.v1.B"]) {
        const client = yield* Transport.client(invented(name), listener.target)
        yield* Effect.flip(client.echo({}))
      }
      yield* eventually(
        Effect.map(since, (all) => {
          const server = all.filter(({ name }) => name === "rpc.server.call.duration")
          expect(server.map(({ count, labels }) => [labels["rpc.method"], count])).toEqual([["unknown", 2]])
          expect(server[0]?.labels["rpc.response.status_code"]).toBe("UNIMPLEMENTED")
        })
      )
    })

    test("messages and bytes of each side", function* () {
      const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
      const since = yield* measuring
      yield* Stream.runDrain(client.echoServerStream({ repeat: 3, payload: payloadOf(1000) }))
      yield* eventually(
        Effect.map(since, (all) => {
          const count = (name: string, side: string) => only(all, `effect_transport_${name}`, side).count
          expect(count("messages_sent", "client")).toBe(1)
          expect(count("messages_received", "server")).toBe(1)
          expect(count("messages_sent", "server")).toBe(3)
          expect(count("messages_received", "client")).toBe(3)
          expect(count("bytes_received", "server")).toBe(count("bytes_sent", "client"))
          expect(count("bytes_received", "client")).toBe(count("bytes_sent", "server"))
          expect(count("bytes_sent", "server")).toBeGreaterThan(3000)
        })
      )
    })

    test("calls in flight, and how long they waited for their peer", function* () {
      yield* Effect.gen(function* () {
        const latch = yield* Deferred.make<void>()
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, { ...echo, echo: () => Effect.as(Deferred.await(latch), {}) })
        )
        const since = yield* measuring
        const fiber = yield* Effect.fork(Effect.all([client.echo({}), client.echo({})], { concurrency: 2 }))
        const inFlight = Effect.map(since, (all) =>
          all.filter(({ name }) => name === "effect_transport_client_calls_in_flight").map(({ count }) => count)
        )
        yield* eventually(Effect.map(inFlight, (counts) => expect(counts).toEqual([2])))
        yield* Deferred.succeed(latch, undefined)
        yield* soon(Fiber.join(fiber))
        expect(yield* inFlight).toEqual([])
        const waits = (yield* since).filter(({ name }) => name === "effect_transport_queue_time")
        // grpc-js has its calls wait by itself.
        expect(waits.every(({ count, labels }) => count === 1 && labels["rpc.method"] === `${service}/Echo`)).toBe(true)
      }).pipe(withOptions({ maxConcurrentStreams: 1 }))
    })

    test("retries, by what was retried", function* () {
      let calls = 0
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: () => {
            calls += 1
            return calls < 3 ? new Unavailable({ message: "busy" }) : Effect.succeed({})
          }
        })
      )
      const since = yield* measuring
      const policy = RetryPolicy.exponential({ initial: "1 millis", on: ["Unavailable"] })
      yield* Effect.retry(client.echo({}), policy)
      const all = yield* since
      const { count, labels } = only(all, "effect_transport_retries")
      expect(labels).toEqual({ "error.type": "UNAVAILABLE", "rpc.method": `${service}/Echo` })
      expect(count).toBe(2)
      expect(endsOf(all)).toMatchObject({ "client Echo UNAVAILABLE": 2, "client Echo OK": 1 })
    })

    test("with `metrics: false` no call is measured", function* () {
      yield* Effect.gen(function* () {
        const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
        const since = yield* measuring
        yield* client.echo({})
        yield* Stream.runDrain(client.echoBidi(numbered(2)))
        const names = (yield* since).map(({ name }) => name)
        expect(names.filter((name) => /^rpc\.|messages|bytes|queue|client_calls/.test(name))).toEqual([])
      }).pipe(withOptions({ metrics: false }))
    })
  })
}
