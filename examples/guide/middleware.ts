import { randomUUID } from "node:crypto"
import { Context, Effect, Layer, Option, Redacted, Stream } from "effect"
import { Credentials, Metadata, Middleware, RetryPolicy, TlsLive, Transport, TransportError } from "effect-transport"
import { PohService } from "../gen/poh/v1/poh_pb.js"

class User extends Context.Tag("app/User")<User, { readonly name: string }>() {}

// Before the handler. What it fails with is the status of the call. With `provides`, what it succeeds with is a service
// for the middleware and the handlers behind it.
const WithUser = Middleware.server({
  provides: User,
  run: ({ metadata }) =>
    Option.match(Metadata.get(metadata, "x-user"), {
      onNone: () => Effect.fail(new TransportError.Unauthenticated({ message: "who calls?" })),
      onSome: (name) => Effect.succeed({ name })
    })
})

// Around the whole call, of a stream to its last message.
const permits = Effect.unsafeMakeSemaphore(100)
const Limited = Middleware.server({ wrap: (_call, next) => permits.withPermits(1)(next) })

// Each request message, before the handler gets it.
const Audited = Middleware.server({
  onRequest: (_request, { method }) => Effect.flatMap(User, ({ name }) => Effect.logDebug(`${name} calls ${method}`))
})

const PohHandlers = Transport.handlers(
  PohService,
  {
    prove: ({ slot }) => Effect.map(User, ({ name }) => ({ slot, valid: true, message: `for ${name}` })),
    proveBatch: (requests) => Effect.map(Stream.runCount(requests), (valid) => ({ valid }))
  },
  { middleware: [WithUser, Limited, Audited] }
)

const listen = Transport.listen([PohHandlers], { middleware: [Middleware.logging()] })

// Before each call: what it succeeds with is added to the metadata.
const RequestId = Middleware.client({ run: () => Effect.sync(() => ({ "x-request-id": randomUUID() })) })

// Around each call: unary ones, and all others.
const Retrying = Middleware.client({
  unary: (call, next) => Effect.retry(next(call), RetryPolicy.exponential({ initial: "100 millis" })),
  stream: (call, next) => next(call)
})

const clientOf = (target: string) =>
  Transport.client(PohService, target, { middleware: [Retrying, RequestId], metadata: { "x-user": "blue" } })

const login = Effect.succeed({ value: Redacted.make("a-token") })

const withToken = (target: string) =>
  Effect.gen(function* () {
    // Until the scope closes, tokens are obtained.
    const auth = yield* Middleware.bearerToken({ token: login })
    return yield* Transport.client(PohService, target, { middleware: [auth, Middleware.propagate(["x-request-id"])] })
  })

const MainLive = Layer.provide(TlsLive, Credentials.layerDev())

export const program = Effect.gen(function* () {
  const { target } = yield* listen
  const { message } = yield* Effect.flatMap(clientOf(target), (poh) => poh.prove({ slot: 7n }))
  const refused = yield* Effect.flatMap(withToken(target), (poh) => Effect.flip(poh.prove({ slot: 7n })))
  return { message, refused: refused.message }
}).pipe(Effect.scoped, Effect.provide(MainLive))
