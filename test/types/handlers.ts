/**
 * Handlers of all four shapes as users write them, with nothing annotated. `npm run check:matrix` has every supported
 * compiler infer them: what one of them infers as `any` or `unknown` does not compile here.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import { Authorizer, type BindError, InvalidArgument, NotFound, Transport, Unavailable } from "effect-transport"
import { EchoService } from "../../examples/gen/echo/v1/echo_pb.js"

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/** Compiles where both are the same type, and nowhere else. */
const same = <A, B>(_: Equal<A, B>): void => {}

class Store extends Context.Tag("test/Store")<Store, { readonly get: (key: string) => Effect.Effect<string> }>() {}
class Audit extends Context.Tag("test/Audit")<Audit, { readonly note: (text: string) => Effect.Effect<void> }>() {}

const generators = Transport.handlers(EchoService, {
  echo: ({ message, repeat }, call) =>
    Effect.gen(function* () {
      const { get } = yield* Store
      if (message === "") {
        return yield* new InvalidArgument({ message: call.method })
      }
      same<typeof repeat, number>(true)
      return { message: yield* get(message), index: repeat }
    }),
  echoServerStream: ({ message, repeat }) =>
    Stream.unwrap(
      Effect.gen(function* () {
        const { note } = yield* Audit
        yield* note(message)
        same<typeof repeat, number>(true)
        return Stream.range(1, repeat).pipe(Stream.map((index) => ({ message, index })))
      })
    ),
  echoClientStream: (requests) =>
    Effect.gen(function* () {
      const count = yield* Ref.make(0)
      yield* Stream.runForEach(requests, ({ message }) => Ref.update(count, (sum) => sum + message.length))
      return { index: yield* Ref.get(count) }
    }),
  echoBidi: (requests, { deadline }) =>
    requests.pipe(
      Stream.mapEffect(({ message }) => Effect.map(Store, () => ({ message, index: deadline }))),
      Stream.filter(({ index }) => index > 0)
    )
})
same<typeof generators, Transport.Handlers<Store | Audit>>(true)

const functions = Transport.handlers(EchoService, {
  echo: Effect.fn("echo")(function* ({ message }) {
    same<typeof message, string>(true)
    return { message: yield* Effect.flatMap(Store, ({ get }) => get(message)) }
  }),
  echoServerStream({ message }) {
    return message === "" ? Stream.fail(new NotFound({ message: "nothing" })) : Stream.make({ message })
  },
  echoClientStream: (requests) =>
    requests.pipe(
      Stream.runLast,
      Effect.flatten,
      Effect.map(({ message }) => ({ message })),
      Effect.orDie
    ),
  echoBidi(requests, call) {
    const answers = Stream.map(requests, ({ message }) => ({ message }))
    return Stream.orElse(answers, () => Stream.fail(new Unavailable({ message: call.method, processed: "no" })))
  }
})

same<typeof functions, Transport.Handlers<Store>>(true)

const branches = Transport.handlers(
  EchoService,
  {
    echo: ({ message }) =>
      message === ""
        ? new NotFound({ message: "nothing" })
        : message === "!"
          ? Effect.never
          : Effect.succeed({ message }),
    echoServerStream: () => Stream.empty,
    echoClientStream: () => new Unavailable({ message: "not now" }),
    echoBidi: () => Stream.never
  },
  { authorize: Authorizer.any }
)
same<typeof branches, Transport.Handlers<never>>(true)

const served = Transport.serve([generators, branches])
same<typeof served, Layer.Layer<Transport.Listener, BindError, Transport.Transport | Store | Audit>>(true)
