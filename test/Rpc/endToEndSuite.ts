/** The cases of `@effect/rpc`'s own end-to-end tests, which its other protocols pass: `rpc-e2e.ts` of platform-node. */
import * as Headers from "@effect/platform/Headers"
import * as Rpc from "@effect/rpc/Rpc"
import * as RpcClient from "@effect/rpc/RpcClient"
import * as RpcGroup from "@effect/rpc/RpcGroup"
import * as RpcMiddleware from "@effect/rpc/RpcMiddleware"
import * as RpcSchema from "@effect/rpc/RpcSchema"
import * as RpcServer from "@effect/rpc/RpcServer"
import { describe, expect } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { RpcTransport, Transport } from "effect-transport"
import { eventually, soon } from "../suite/fixtures/expect.js"
import { type Format, formats, testOn } from "./rpcSupport.js"

class User extends Schema.Class<User>("User")({ id: Schema.String, name: Schema.String }) {}

class StreamUsers extends Schema.TaggedRequest<StreamUsers>()("StreamUsers", {
  success: RpcSchema.Stream({ success: User, failure: Schema.Never }),
  failure: Schema.Never,
  payload: { id: Schema.String }
}) {}

class CurrentUser extends Context.Tag("test/CurrentUser")<CurrentUser, User>() {}

class Unauthorized extends Schema.TaggedError<Unauthorized>()("Unauthorized", {}) {}

class Auth extends RpcMiddleware.Tag<Auth>()("test/Auth", {
  provides: CurrentUser,
  failure: Unauthorized,
  requiredForClient: true
}) {}

class Timing extends RpcMiddleware.Tag<Timing>()("test/Timing", { wrap: true }) {}

const Counts = Schema.Struct({ successes: Schema.Number, defects: Schema.Number, all: Schema.Number })

const Users = RpcGroup.make(
  Rpc.make("GetUser", { payload: { id: Schema.String }, success: User }),
  Rpc.make("GetUserOption", { payload: { id: Schema.String }, success: Schema.Option(User) }),
  Rpc.make("Tomorrow", { payload: { date: Schema.Date }, success: Schema.Date }),
  Rpc.fromTaggedRequest(StreamUsers),
  Rpc.make("GetInterrupts", { success: Schema.Number }),
  Rpc.make("GetEmits", { success: Schema.Number }),
  Rpc.make("ProduceDefect"),
  Rpc.make("ProduceErrorDefect"),
  Rpc.make("Never"),
  Rpc.make("nested.test"),
  Rpc.make("Timed", { payload: { shouldFail: Schema.Boolean }, success: Schema.Number }).middleware(Timing),
  Rpc.make("GetTiming", { success: Counts })
).middleware(Auth)

const auth = Layer.succeed(
  Auth,
  Auth.of(({ headers }) =>
    headers.userid === "-2"
      ? Effect.fail(new Unauthorized())
      : Effect.succeed(new User({ id: headers.userid ?? "1", name: headers.name ?? "nobody" }))
  )
)

const authClient = RpcMiddleware.layerClient(Auth, ({ request }) =>
  Effect.succeed({ ...request, headers: Headers.set(request.headers, "name", "Logged in user") })
)

/** The handlers of one test, and what they count. */
const handlers = () => {
  const counts = { interrupts: 0, emits: 0 }
  const timing = { successes: 0, defects: 0, all: 0 }
  const timed = Layer.succeed(
    Timing,
    Timing.of(({ next }) =>
      next.pipe(
        Effect.onExit((exit) =>
          Effect.sync(() => {
            timing.successes += Exit.isSuccess(exit) ? 1 : 0
            timing.defects += Exit.isFailure(exit) && Cause.isDie(exit.cause) ? 1 : 0
            timing.all += 1
          })
        )
      )
    )
  )
  const interrupted = Effect.sync(() => {
    counts.interrupts += 1
  })
  const users = Users.toLayer({
    GetUser: () => Rpc.fork(CurrentUser),
    GetUserOption: ({ id }) => Effect.succeed(Option.some(new User({ id, name: "John" }))),
    Tomorrow: ({ date }) => Effect.succeed(new Date(date.getTime() + 86_400_000)),
    StreamUsers: ({ id }) =>
      Effect.gen(function* () {
        const mailbox = yield* Mailbox.make<User>(0)
        yield* Effect.addFinalizer(() => interrupted)
        yield* mailbox.offer(new User({ id, name: "John" })).pipe(
          Effect.tap(() => {
            counts.emits += 1
          }),
          Effect.forever,
          Effect.forkScoped
        )
        return mailbox
      }),
    GetInterrupts: () => Effect.sync(() => counts.interrupts),
    GetEmits: () => Effect.sync(() => counts.emits),
    ProduceDefect: () => Effect.die("boom"),
    ProduceErrorDefect: () => Effect.die(new Error("error defect message")),
    Never: () => Effect.onInterrupt(Effect.never, () => interrupted),
    "nested.test": () => Effect.void,
    Timed: ({ shouldFail }) => (shouldFail ? Effect.die("boom") : Effect.succeed(1)),
    GetTiming: () => Effect.sync(() => ({ ...timing }))
  })
  return Layer.mergeAll(users, auth, timed)
}

const users = (format: Format) =>
  Effect.gen(function* () {
    const server = yield* Layer.build(
      RpcServer.layer(Users).pipe(
        Layer.provide(handlers()),
        Layer.provideMerge(RpcTransport.layerProtocolServer()),
        Layer.provide(format)
      )
    )
    const { target } = Context.get(server, Transport.Listener)
    const client = yield* Layer.build(
      Layer.mergeAll(RpcTransport.layerProtocolClient(target), authClient).pipe(Layer.provide(format))
    )
    return yield* Effect.provide(RpcClient.make(Users), client)
  })

export const endToEndSuite = <E>(name: string, transport: Layer.Layer<Transport.Transport, E>): void => {
  const test = testOn(transport)
  for (const [title, format] of Object.entries(formats)) {
    const client = users(format)

    describe(`${name}, the end-to-end tests of @effect/rpc in ${title}`, () => {
      test(
        "values: classes, options, dates, and a method with a prefix",
        Effect.gen(function* () {
          const { GetUser, GetUserOption, nested, Tomorrow } = yield* client
          const user = yield* GetUser({ id: "1" })
          expect(user).toBeInstanceOf(User)
          expect(user).toEqual(new User({ id: "1", name: "Logged in user" }))
          expect(yield* GetUserOption({ id: "1" })).toEqual(Option.some(new User({ id: "1", name: "John" })))
          expect(yield* Tomorrow({ date: new Date("2026-11-23") })).toEqual(new Date("2026-11-24"))
          yield* nested.test()
        })
      )

      test(
        "headers, and a middleware that fails",
        Effect.gen(function* () {
          const { GetUser } = yield* client
          expect(yield* RpcClient.withHeaders(GetUser({ id: "1" }), { userId: "123" })).toEqual(
            new User({ id: "123", name: "Logged in user" })
          )
          expect(yield* Effect.flip(GetUser({ id: "1" }, { headers: { userid: "-2" } }))).toBeInstanceOf(Unauthorized)
        })
      )

      test(
        "a stream of which some is taken is interrupted, and has made little more than that",
        Effect.gen(function* () {
          const { GetEmits, GetInterrupts, StreamUsers } = yield* client
          const some = yield* Stream.runCollect(Stream.take(StreamUsers({ id: "1" }), 5))
          expect(some).toHaveLength(5)
          yield* eventually(Effect.map(Effect.orDie(GetInterrupts()), (interrupts) => expect(interrupts).toBe(1)))
          // Five were taken and sixteen can wait for the consumer. Two are for those on their way.
          expect(yield* GetEmits()).toBeLessThanOrEqual(5 + 16 + 2)
        })
      )

      test(
        "defects, also those that are errors",
        Effect.gen(function* () {
          const { ProduceDefect, ProduceErrorDefect } = yield* client
          expect(yield* Effect.flip(Effect.sandbox(ProduceDefect()))).toEqual(Cause.die("boom"))
          const defect = Cause.squash(yield* Effect.flip(Effect.sandbox(ProduceErrorDefect())))
          expect(defect).toBeInstanceOf(Error)
          expect(defect).toMatchObject({ message: "error defect message" })
        })
      )

      test(
        "a call that is given up",
        Effect.gen(function* () {
          const { GetInterrupts, Never } = yield* client
          const fiber = yield* Effect.fork(Never())
          // It has arrived when a later one is answered.
          expect(yield* GetInterrupts()).toBe(0)
          expect(fiber.unsafePoll()).toBe(null)
          yield* soon(Fiber.interrupt(fiber))
          yield* eventually(Effect.map(Effect.orDie(GetInterrupts()), (interrupts) => expect(interrupts).toBe(1)))
        })
      )

      test(
        "a middleware around the handler",
        Effect.gen(function* () {
          const { GetTiming, Timed } = yield* client
          expect(yield* Timed({ shouldFail: false })).toBe(1)
          yield* Effect.exit(Timed({ shouldFail: true }))
          expect(yield* GetTiming()).toEqual({ successes: 1, defects: 1, all: 2 })
        })
      )
    })
  }
}
