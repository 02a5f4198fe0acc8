/**
 * The standard `grpc.reflection.v1.ServerReflection` service and its predecessor `v1alpha`, by which tools such as `buf curl`
 * and `grpcurl` list, describe and call what a listener serves without its `.proto` files. Off unless asked for.
 *
 * Source: "server-reflection.md" of gRPC.
 *
 * @since 0.1.0
 */
import type { DescFile } from "@bufbuild/protobuf"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { ServerReflection as ContractV1 } from "../gen/grpc/reflection/v1/reflection_pb.js"
import { ServerReflection as ContractV1Alpha } from "../gen/grpc/reflection/v1alpha/reflection_pb.js"
import type { Authorizer } from "./Authorizer.js"
import type { Call } from "./Call.js"
import * as Handlers from "./Handlers.js"
import type { IncomingCall } from "./IncomingCall.js"
import * as Answers from "./internal/reflection/answers.js"
import * as Descriptors from "./internal/reflection/descriptors.js"
import * as Served from "./internal/served.js"
import type { Behind, ServerList, ServerMiddleware } from "./Middleware/ServerMiddleware.js"
import { InvalidArgument, type StatusError } from "./TransportError.js"

/**
 * The contract, for clients: `Transport.client(Reflection.Contract, "peer-node:50051")`.
 *
 * @since 0.1.0
 * @category client
 */
export const Contract: typeof ContractV1 = ContractV1

/**
 * The contract of older peers, which is the same but for its name.
 *
 * @since 0.1.0
 * @category client
 */
export const AlphaContract: typeof ContractV1Alpha = ContractV1Alpha

/**
 * Who may ask, and what else is told.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReflectionOptions<M extends ServerList = ReadonlyArray<ServerMiddleware>> {
  /** Who may use reflection at all; others get `PermissionDenied`. Default: all who may connect. */
  readonly authorize?: Authorizer | undefined
  /** What is done around the calls of reflection, behind `authorize` and the middleware of the listener. Default: nothing. */
  readonly middleware?: M | undefined
  /**
   * Files beside those of the services and what these import, with what they import: of extensions, and of messages that
   * travel in `google.protobuf.Any`. Generated code exports them as `file_dag_v1_dag`. All callers may see them. Default: none.
   */
  readonly files?: ReadonlyArray<DescFile> | undefined
}

/** The longest name that is looked up, in characters. */
const maxNameLength = 4096

const isTooLong = (question: Answers.Question, host: string): boolean => {
  const name = question.case === "fileContainingExtension" ? question.value.containingType : (question.value ?? "")
  return name.length > maxNameLength || host.length > maxNameLength
}

interface Request {
  readonly host: string
  readonly messageRequest: Answers.Question
}

const indexes = new WeakMap<Served.ServedServices, Effect.Effect<Descriptors.Index>>()

/** The files of a listener, which are read at the first question. */
const indexOf = (served: Served.ServedServices, files: ReadonlyArray<DescFile>): Effect.Effect<Descriptors.Index> =>
  Effect.suspend(() => {
    const before = indexes.get(served)
    if (before !== undefined) {
      return before
    }
    const roots = served.services.flatMap(({ descriptor }) => (descriptor === undefined ? [] : [descriptor.file]))
    return Effect.tap(Descriptors.index(Descriptors.closure([...roots, ...files])), (index) =>
      Effect.sync(() => indexes.set(served, Effect.succeed(index)))
    )
  })

/** What the authorizers of a listener's services let a caller see of them. */
const viewOf = (call: Call, files: ReadonlyArray<DescFile>): Effect.Effect<Answers.View> =>
  Effect.gen(function* () {
    const served = yield* Served.current
    const index = yield* indexOf(served, files)
    const described = served.services.flatMap(({ descriptor, isOpenTo }) =>
      // The cast: `call` is what a transport has made.
      descriptor === undefined ? [] : [{ descriptor, isOpen: isOpenTo(call as IncomingCall) }]
    )
    const open = described.filter(({ isOpen }) => isOpen)
    const hidden = described.filter(({ isOpen }) => !isOpen).map(({ descriptor }) => descriptor.typeName)
    const openFiles =
      hidden.length === 0
        ? index.files
        : Descriptors.closure([...open.map(({ descriptor }) => descriptor.file), ...files])
    return {
      index,
      services: open.map(({ descriptor }) => descriptor.typeName).sort(),
      isOpen: (file) => openFiles.has(file.proto.name),
      hidden,
      sent: new Set()
    }
  })

const answers =
  (files: ReadonlyArray<DescFile>) =>
  <R extends Request>(requests: Stream.Stream<R, StatusError>, call: Call) =>
    Stream.unwrap(
      Effect.map(viewOf(call, files), (view) =>
        // A caller that keeps its stream open does not hold up a listener that closes.
        Stream.mapEffect(Stream.interruptWhen(requests, call.draining), (request) => {
          const { host, messageRequest: question } = request
          if (question.case === undefined || isTooLong(question, host)) {
            const message =
              question.case === undefined ? "an empty request" : `a name of more than ${maxNameLength} characters`
            return Effect.fail(new InvalidArgument({ message, method: call.method }))
          }
          return Effect.map(Answers.answer(question, view), (messageResponse) => ({
            validHost: host,
            originalRequest: request,
            messageResponse
          }))
        })
      )
    )

const make = <const M extends ServerList = readonly []>({
  authorize,
  files = [],
  middleware
}: ReflectionOptions<M> = {}): Handlers.Handlers<Behind<M, never>> => {
  const serverReflectionInfo = answers(files)
  const options = { authorize, middleware }
  const v1 = Handlers.handlers(ContractV1, { serverReflectionInfo }, options)
  const alpha = Handlers.handlers(ContractV1Alpha, { serverReflectionInfo }, options)
  return {
    service: v1.service,
    served: Handlers.servedBy([v1, alpha]),
    routes: (context, listener) => [...v1.routes(context, listener), ...alpha.routes(context, listener)]
  }
}

/**
 * Answers reflection for the listener that has it among its handlers, as it is or with options:
 *
 * ```ts
 * Transport.serve([DagHandlers, Reflection.handlers])
 * Transport.serve([DagHandlers, Reflection.handlers({ authorize: Authorizer.trustDomain("ops.example") })])
 * ```
 *
 * A caller is told of all services of the listener that have a protobuf contract, reflection itself included, but for those
 * whose `authorize` lets it call none of their methods, and of the files of those services with all that they import.
 *
 * A stream answers one request after the other, as fast as its caller reads. An answer has the file asked for, and up to
 * 1 MiB of the files that it imports as far as that stream has not had them. Names of more than 4096 characters are
 * `InvalidArgument`.
 *
 * @since 0.1.0
 * @category server
 */
export const handlers: Handlers.Handlers<never> & typeof make = Object.assign(
  <const M extends ServerList = readonly []>(options?: ReflectionOptions<M>) => make<M>(options),
  make()
)

/**
 * Has all listeners answer reflection, as if each had `Reflection.handlers`, that are made with it in their context.
 *
 * @since 0.1.0
 * @category tags
 */
export class Reflection extends Context.Tag("effect-transport/Reflection")<
  Reflection,
  { readonly handlers: Handlers.Handlers<never> }
>() {}

/**
 * Reflection of all listeners under it, for a program whose listeners are made elsewhere:
 * `NodeLive.pipe(Layer.provide(Reflection.layer))`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Reflection> = Layer.succeed(Reflection, { handlers })
