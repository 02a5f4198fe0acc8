/**
 * Middleware as users write it, with nothing annotated. `npm run check:matrix` has every supported compiler infer what is
 * required behind it.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import {
  type BindError,
  type CallError,
  type ConnectError,
  Middleware,
  NotFound,
  type StatusError,
  Transport,
  Unauthenticated
} from "effect-transport"
import { EchoService } from "../../examples/gen/echo/v1/echo_pb.js"
import { echo } from "../suite/fixtures/echo.js"

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/** Compiles where both are the same type, and nowhere else. */
const same = <A, B>(_: Equal<A, B>): void => {}

class User extends Context.Tag("test/User")<User, { readonly name: string }>() {}
class Role extends Context.Tag("test/Role")<Role, string>() {}
class Store extends Context.Tag("test/Store")<Store, { readonly get: (key: string) => Effect.Effect<string> }>() {}
class Audit extends Context.Tag("test/Audit")<Audit, (text: string) => Effect.Effect<void>>() {}

// --- Of a server ---

const auth = Middleware.server({
  provides: User,
  run: (call) => {
    same<typeof call, Transport.Call>(true)
    return call.metadata.entries.length === 0
      ? new Unauthenticated({ message: "nobody" })
      : Effect.map(Store, () => ({ name: call.method }))
  }
})
same<typeof auth, Middleware.ServerMiddleware<User, Store>>(true)

const roles = Middleware.server({
  provides: Role,
  run: Effect.fn("roles")(function* () {
    const { name } = yield* User
    return name
  })
})
same<typeof roles, Middleware.ServerMiddleware<Role, User>>(true)

const check = Middleware.server({ run: () => Effect.flatMap(Audit, (audit) => audit("a call")) })
same<typeof check, Middleware.ServerMiddleware<never, Audit>>(true)

const timing = Middleware.server({
  wrap: (call, next) => {
    same<typeof next, Effect.Effect<Middleware.Done, StatusError>>(true)
    return Effect.gen(function* () {
      const start = yield* Clock.currentTimeMillis
      const done = yield* next
      yield* call.setTrailers({ "x-start": String(start) })
      return done
    })
  }
})
same<typeof timing, Middleware.ServerMiddleware<never, never>>(true)

const wrapping = Middleware.server({
  provides: User,
  wrap: (call, next) => Effect.scoped(Effect.provideService(next, User, { name: call.method }))
})
same<typeof wrapping, Middleware.ServerMiddleware<User, never>>(true)

const requests = Middleware.server({
  onRequest: (request, call) => {
    same<typeof request, unknown>(true)
    return Effect.flatMap(Role, (role) => (role === call.method ? Effect.void : new NotFound({ message: role })))
  }
})
same<typeof requests, Middleware.ServerMiddleware<never, Role>>(true)

// @ts-expect-error what is provided is of the tag's type
Middleware.server({ provides: User, run: () => Effect.succeed("a name") })
// @ts-expect-error a failure is a status
Middleware.server({ run: () => Effect.fail("whatever") })
// @ts-expect-error a middleware can't answer in the handler's place
Middleware.server({ wrap: () => Effect.succeed({ message: "hello" }) })
// @ts-expect-error nor say nothing
Middleware.server({ wrap: (_, next) => Effect.asVoid(next) })
// @ts-expect-error one thing of the three
Middleware.server({ run: () => Effect.void, wrap: (_call, next) => next })

const needy = {
  ...echo,
  echo: () => Effect.map(Effect.all([User, Role, Store]), ([user, role]) => ({ message: user.name + role })),
  echoServerStream: () => Stream.fromEffect(Effect.map(User, ({ name }) => ({ message: name })))
}

same<ReturnType<typeof bare>, Transport.Handlers<User | Role | Store>>(true)
const bare = () => Transport.handlers(EchoService, needy)

// Behind a list is left what nobody in it provides, and what it requires itself.
const behind = Transport.handlers(EchoService, needy, { middleware: [check, auth, roles] })
same<typeof behind, Transport.Handlers<Store | Audit>>(true)

// What stands after can't provide to what stands before.
const disordered = Transport.handlers(EchoService, needy, { middleware: [roles, auth] })
same<typeof disordered, Transport.Handlers<User | Store>>(true)

const inlined = Transport.handlers(
  EchoService,
  {
    ...echo,
    echo: ({ message }) => Effect.map(User, ({ name }) => ({ message: message + name }))
  },
  {
    middleware: [
      Middleware.server({ provides: User, run: (call) => Effect.succeed({ name: call.method }) }),
      timing,
      Middleware.server({ wrap: (_, next) => Effect.zipRight(Transport.CurrentCall, next) })
    ]
  }
)
same<typeof inlined, Transport.Handlers<never>>(true)

const partly = Transport.handlers(EchoService, needy, { middleware: [roles] })
const served = Transport.serve([partly, Transport.handlers(EchoService, echo)], { port: 0, middleware: [check, auth] })
same<typeof served, Layer.Layer<Transport.Listener, BindError, Transport.Transport | Store | Audit>>(true)

const listening = Transport.listen([partly], { middleware: [wrapping] })
same<typeof listening, Effect.Effect<Transport.ListenerService, BindError, Transport.Transport | Scope.Scope | Store>>(
  true
)

// A list of unknown length may be empty.
declare const some: ReadonlyArray<Middleware.ServerMiddleware<User, Audit>>
const unsure = Transport.handlers(EchoService, needy, { middleware: some })
same<typeof unsure, Transport.Handlers<User | Role | Store | Audit>>(true)

// @ts-expect-error that one is for clients
Transport.handlers(EchoService, echo, { middleware: [Middleware.client({ run: () => Effect.succeed({}) })] })

// @ts-expect-error one that provides less is none that provides more
auth satisfies Middleware.ServerMiddleware<User | Role, Store>

// --- Of a client ---

const tenant = Middleware.client({ run: (call) => Effect.map(User, ({ name }) => ({ "x-tenant": name + call.peer })) })
same<typeof tenant, Middleware.ClientMiddleware<User>>(true)

const retrying = Middleware.client({
  unary: (call, next) => {
    same<typeof call, Middleware.UnaryCall>(true)
    return Effect.zipRight(Audit, Effect.retry(next({ ...call, waitForReady: true }), { times: 2 }))
  },
  stream: (call, next) => Stream.retry(next(call), Schedule.recurs(2))
})
same<typeof retrying, Middleware.ClientMiddleware<Audit>>(true)

const caching = Middleware.client({
  unary: ({ request }) => Effect.succeed(request),
  stream: (call, next) =>
    Stream.catchAll(next(call), (error) =>
      error instanceof Unauthenticated ? Stream.make({ message: "" }) : Stream.fail(error)
    )
})
same<typeof caching, Middleware.ClientMiddleware<never>>(true)

// @ts-expect-error streams are calls too
Middleware.client({ unary: (call: Middleware.UnaryCall, next) => next(call) })
// @ts-expect-error metadata is added
Middleware.client({ run: () => Effect.succeed(1) })
// @ts-expect-error a failure is one of a call
Middleware.client({ run: () => Effect.fail("whatever") })

const opened = Transport.client(EchoService, "127.0.0.1:50051", { middleware: [tenant, retrying, caching] })
same<
  typeof opened,
  Effect.Effect<Transport.Client<typeof EchoService>, ConnectError, Transport.Transport | Scope.Scope | User | Audit>
>(true)

class Echo extends Context.Tag("test/Echo")<Echo, Transport.Client<typeof EchoService>>() {}

const layer = Transport.layerClient(Echo, EchoService, "127.0.0.1:50051", { middleware: [tenant] })
same<typeof layer, Layer.Layer<Echo, ConnectError, Transport.Transport | User>>(true)

const plain = Transport.layerClient(Echo, EchoService, "127.0.0.1:50051", { timeout: "1 second" })
same<typeof plain, Layer.Layer<Echo, ConnectError, Transport.Transport>>(true)

declare const client: Transport.Client<typeof EchoService>
// @ts-expect-error a call has no middleware of its own
client.echo({}, { middleware: [tenant] })
same<Effect.Effect.Error<ReturnType<typeof client.echo>>, CallError>(true)
