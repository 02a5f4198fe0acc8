import { expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Credentials, Datagrams, Quic, Transport, TransportMetrics } from "effect-transport"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing, soon, within } from "../suite/fixtures/expect.js"

const dev = Credentials.layerDev()

const build = (options?: Quic.QuicOptions) => Layer.build(Layer.provide(Quic.layer(options), dev))

const bytes = (text: string) => new TextEncoder().encode(text)
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

const test = (title: string, body: Effect.Effect<void, unknown, Effect.Effect.Context<ReturnType<typeof build>>>) =>
  it.live(title, () => leavesNothing(body))

/** Two nodes with one transport. */
const meet = (options?: Quic.QuicOptions) =>
  Effect.gen(function* () {
    const context = yield* build(options)
    const run = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provide(effect, context)
    const { target } = yield* run(Transport.listen([Transport.handlers(EchoService, echo)]))
    return { context, run, target }
  })

test(
  "go both ways beside the calls, and know whom they are from",
  Effect.gen(function* () {
    const { run, target } = yield* meet()
    yield* Effect.forkScoped(
      run(Stream.runForEach(Datagrams.received, ({ bytes, from }) => from.send(Uint8Array.from(bytes).reverse())))
    )
    const channel = yield* run(Datagrams.connect(target))
    expect(Option.isSome(channel.peer.identity)).toBe(true)
    expect(yield* channel.maxSize).toBeGreaterThan(1000)
    // What is sent before somebody reads at the other end may be dropped there, as anywhere.
    yield* Effect.forkScoped(Effect.forever(Effect.delay(channel.send(bytes("abc")), "5 millis")))
    const answers = yield* within(Stream.runCollect(Stream.take(channel.received, 3)), "5 seconds")
    expect(Chunk.toReadonlyArray(answers).map(text)).toEqual(["cba", "cba", "cba"])
  })
)

test(
  "end with the scope of their channel, also where it was made by what can't be interrupted",
  Effect.gen(function* () {
    const { run, target } = yield* meet()
    const scope = yield* Scope.make()
    yield* Effect.uninterruptible(Scope.extend(run(Datagrams.connect(target)), scope))
    yield* within(Scope.close(scope, Exit.void), "5 seconds")
  })
)

test(
  "are sent back over the connection of a call",
  Effect.gen(function* () {
    const context = yield* build()
    const run = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provide(effect, context)
    const { over } = Context.get(context, Datagrams.Datagrams)
    const { target } = yield* run(
      Transport.listen([
        Transport.handlers(EchoService, {
          ...echo,
          echo: ({ message }, { connection }) =>
            Option.match(over(connection), {
              onNone: () => Effect.succeed({ message: "no channel" }),
              onSome: (channel) => Effect.as(Effect.orDie(channel.send(bytes(message))), { message: "sent" })
            })
        })
      ])
    )
    const client = yield* run(Transport.client(EchoService, target))
    expect((yield* client.echo({ message: "hello" })).message).toBe("no channel")
    const channel = yield* run(Datagrams.connect(target))
    expect((yield* client.echo({ message: "hello" })).message).toBe("sent")
    expect(text(Option.getOrThrow(yield* soon(Stream.runHead(channel.received))))).toBe("hello")
  })
)

test(
  "that are too large are refused with the size that fits",
  Effect.gen(function* () {
    const { run, target } = yield* meet()
    const channel = yield* run(Datagrams.connect(target))
    const most = yield* channel.maxSize
    yield* channel.send(new Uint8Array(most))
    expect(yield* Effect.flip(channel.send(new Uint8Array(most + 1)))).toMatchObject({
      _tag: "DatagramTooLarge",
      size: most + 1,
      maxSize: most
    })
  })
)

test(
  "that nobody reads are dropped and counted",
  Effect.gen(function* () {
    const { run, target } = yield* meet({ maxDatagrams: 8 })
    const counted = Effect.map(
      Metric.value(Metric.tagged(TransportMetrics.datagramsDropped, "direction", "receiving")),
      ({ count }) => count
    )
    const before = yield* counted
    const channel = yield* run(Datagrams.connect(target))
    const there = Option.getOrThrow(yield* soon(run(Stream.runHead(Datagrams.channels))))
    // One at a time, so that none is dropped on the way to the other end.
    yield* Effect.repeatN(Effect.zipRight(channel.send(bytes("x")), Effect.sleep("1 millis")), 29)
    yield* eventually(
      Effect.map(there.dropped, ({ receiving }) => expect(receiving).toBeGreaterThan(10)),
      "2 seconds"
    )
    expect(yield* counted).toBeGreaterThan(before + 10)
    expect(Chunk.size(yield* soon(Stream.runCollect(Stream.take(there.received, 8))))).toBe(8)
    // More at once than the queue has room for.
    yield* Effect.repeatN(channel.send(bytes("x")), 99)
    expect((yield* channel.dropped).sending).toBeGreaterThan(0)
  })
)

const droppedReceiving = Effect.map(
  Metric.value(Metric.tagged(TransportMetrics.datagramsDropped, "direction", "receiving")),
  ({ count }) => count
)

/** A second's worth of datagrams, in portions that the queues on the way have room for. */
const flood = (channel: Datagrams.Channel, count: number, size: number) =>
  Effect.repeatN(
    Effect.zipRight(Effect.repeatN(channel.send(new Uint8Array(size)), 9), Effect.sleep("2 millis")),
    count / 10 - 1
  )

test(
  "are not kept where the program has not asked for them",
  Effect.gen(function* () {
    const { run, target } = yield* meet()
    const before = yield* droppedReceiving
    const channel = yield* run(Datagrams.connect(target))
    yield* flood(channel, 500, 1000)
    yield* eventually(Effect.map(droppedReceiving, (now) => expect(now - before).toBeGreaterThan(300)))
    const there = Option.getOrThrow(yield* soon(run(Stream.runHead(Datagrams.channels))))
    yield* eventually(
      Effect.gen(function* () {
        yield* Effect.orDie(channel.send(bytes("first that is kept")))
        expect(Option.map(yield* soon(Stream.runHead(there.received)), text)).toEqual(Option.some("first that is kept"))
      })
    )
  })
)

test(
  "that wait are counted in bytes",
  Effect.gen(function* () {
    const { run, target } = yield* meet({ maxDatagramBytes: 10 * (1000 + 128) })
    const channel = yield* run(Datagrams.connect(target))
    const there = Option.getOrThrow(yield* soon(run(Stream.runHead(Datagrams.channels))))
    // When all have come, ten wait, and those that are read make room for as many.
    for (let n = 1; n <= 3; n++) {
      yield* flood(channel, 100, 1000)
      yield* eventually(
        Effect.zipWith(channel.dropped, there.dropped, ({ sending }, { receiving }) =>
          expect(sending + receiving).toBe(90 * n)
        )
      )
      expect(Chunk.size(yield* soon(Stream.runCollect(Stream.take(there.received, 10))))).toBe(10)
      expect(Option.isNone(yield* Effect.timeoutOption(Stream.runHead(there.received), "50 millis"))).toBe(true)
    }
  })
)

test(
  "of one peer come on one channel, whoever asks for it",
  Effect.gen(function* () {
    const { run, target } = yield* meet()
    const first = yield* run(Datagrams.connect(target))
    const second = yield* Effect.scoped(run(Datagrams.connect(target)))
    expect(second).toBe(first)
    // It ends with the last of them.
    yield* first.maxSize
    const all = yield* run(
      Datagrams.channels.pipe(Stream.interruptAfter("50 millis"), Stream.runCollect, Effect.map(Chunk.size))
    )
    expect(all).toBe(1)
  })
)

test(
  "go on after the connection was lost, and end with the channel",
  Effect.gen(function* () {
    const context = yield* build({ initialReconnectBackoff: "20 millis" })
    const run = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provide(effect, context)
    const listen = (port: number) =>
      run(Transport.listen([Transport.handlers(EchoService, echo)], { port, gracePeriod: 0 }))
    const echoing = run(Stream.runForEach(Datagrams.received, ({ bytes, from }) => Effect.ignore(from.send(bytes))))
    const { channel, port } = yield* Effect.scoped(
      Effect.gen(function* () {
        const { address, target } = yield* listen(0)
        return { channel: target, port: address.port }
      })
    )
    const outer = yield* Effect.scope
    const heard = (opened: Datagrams.Channel) =>
      Effect.raceFirst(
        Effect.forever(Effect.delay(Effect.ignore(opened.send(bytes("?"))), "10 millis")),
        within(Stream.runHead(opened.received), "5 seconds")
      )
    yield* Effect.forkScoped(echoing)
    const opened = yield* Effect.scoped(
      Effect.gen(function* () {
        yield* listen(port)
        const opened = yield* Effect.provideService(run(Datagrams.connect(channel)), Scope.Scope, outer)
        yield* heard(opened)
        return opened
      })
    )
    yield* eventually(
      Effect.map(Effect.either(opened.send(bytes("?"))), (sent) =>
        expect(Either.getOrUndefined(Either.flip(sent))).toMatchObject({ _tag: "Unavailable" })
      ),
      "2 seconds"
    )
    yield* listen(port)
    yield* heard(opened)
  })
)
