/** Calls of all four shapes by the installed package over its wires: each runtime that README names runs this. */
import { Effect, Layer, Stream } from "effect"
import { Credentials, GrpcLive, MemoryLive, NotFound, Service, TlsLive, Transport } from "effect-transport"

const text = { encode: (value) => new TextEncoder().encode(value), decode: (bytes) => new TextDecoder().decode(bytes) }
const method = (name, shape) => ({ path: `/example.Words/${name}`, shape, input: text, output: text })

const Words = Service.make("example.Words", {
  shout: method("Shout", "unary"),
  spell: method("Spell", "serverStreaming"),
  join: method("Join", "clientStreaming"),
  talk: method("Talk", "bidiStreaming")
})

const WordsHandlers = Transport.handlers(Words, {
  shout: (word, call) =>
    word === ""
      ? new NotFound({ message: "no word" })
      : Effect.as(call.setTrailers({ "x-identity": call.peer.identity._tag }), word.toUpperCase()),
  spell: (word) => Stream.fromIterable(word),
  join: (words) => Stream.runFold(words, "", (all, word) => all + word),
  talk: (words) => Stream.map(words, (word) => `${word}!`)
})

const calls = Effect.gen(function* () {
  const { target } = yield* Transport.Listener
  const words = yield* Transport.client(Words, target)
  const identities = []
  const options = {
    timeout: "20 seconds",
    onTrailers: ({ entries }) => identities.push(...entries.map(([, value]) => value))
  }
  const large = "x".repeat(1_000_000)
  return [
    yield* words.shout("hello", options),
    (yield* words.shout(large)).length,
    yield* Effect.merge(Effect.catchTag(words.shout(""), "NotFound", ({ message }) => Effect.succeed(message))),
    Array.from(yield* Stream.runCollect(words.spell("abc"))).join("-"),
    yield* words.join(Stream.make("a", "b", "c")),
    Array.from(yield* Stream.runCollect(words.talk(Stream.make("a", "b")))).join(),
    (yield* Effect.forEach(
      Array.from({ length: 200 }, (_, n) => String(n)),
      (n) => words.shout(n),
      { concurrency: 50 }
    )).length,
    identities.join()
  ].join(" ")
})

const expected = (identity) => `HELLO 1000000 no word a-b-c abc a!,b! 200 ${identity}`

const on = (name, wire, identity) =>
  calls.pipe(
    Effect.scoped,
    Effect.provide(Transport.serve([WordsHandlers]).pipe(Layer.provideMerge(wire))),
    Effect.timeout("60 seconds"),
    Effect.filterOrDieMessage(
      (result) => result === expected(identity),
      `the calls over ${name} did not come to what they should`
    ),
    Effect.as(name)
  )

/** A node whose own certificate is not what the client wants: the refusal has to work too. */
const refused = Effect.gen(function* () {
  const server = yield* Layer.build(Layer.provide(Layer.fresh(TlsLive), Credentials.layerDev()))
  const client = yield* Layer.build(Layer.provide(Layer.fresh(TlsLive), Credentials.layerDev()))
  const { target } = yield* Effect.provide(Transport.listen([WordsHandlers]), server)
  const error = yield* Effect.flip(Effect.provide(Transport.client(Words, target), client))
  return error._tag === "HandshakeFailed" && error.reason === "UntrustedIssuer"
}).pipe(
  Effect.scoped,
  Effect.filterOrDieMessage((isRefused) => isRefused, "a stranger was not refused")
)

const names = await Effect.runPromise(
  Effect.all([
    on("GrpcLive", Layer.provide(GrpcLive, Credentials.layerDev()), "Some"),
    on("TlsLive", Layer.provide(TlsLive, Credentials.layerDev()), "Some"),
    on("MemoryLive", MemoryLive, "None"),
    Effect.as(refused, "and strangers are refused")
  ])
)
const { bun, deno, node } = process.versions
const runtime = bun === undefined ? (deno === undefined ? `Node ${node}` : `Deno ${deno}`) : `Bun ${bun}`
console.log(`${runtime}: calls over ${names.join(", ")}`)
