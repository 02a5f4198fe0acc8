/** A call at the serving end, with the headers and trailers that its handler has set. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as LogLevel from "effect/LogLevel"
import type { Call, CallConnection } from "./Call.js"
import type { Boundary } from "./internal/boundary.js"
import * as Metadata from "./Metadata.js"

/** The call as the serving side of a transport holds it: the handler's view, and what the handler set so far. */
export interface IncomingCall extends Call {
  readonly response: Response
  readonly boundary: Boundary
  /** When it came, by the clock of the deadline. */
  readonly began: number
  /** What its wire speaks: `rpc.system.name`. */
  readonly system: string
  /** Ends the connection that the call came on, where the call alone can't be ended. */
  readonly endConnection: (cause: unknown) => void
  /** Called when an authorizer denies the call. */
  readonly onDenied: (() => void) | undefined
}

export interface Response {
  headers: Metadata.Metadata
  trailers: Metadata.Metadata
  headersSent: boolean
  /** The handler set more than any transport takes, which was dropped. */
  isTooLarge: boolean
}

/** What can't travel is the handler's own mistake: it ends like any other defect of a handler. */
const checked = (input: Metadata.Input, response: Response): Effect.Effect<Metadata.Metadata> =>
  Effect.suspend(() => {
    const metadata = Metadata.fromInput(input)
    if (Either.isRight(metadata)) {
      return Effect.succeed(metadata.right)
    }
    if (metadata.left.reason === "Invalid") {
      return Effect.die(metadata.left)
    }
    response.isTooLarge = true
    return Effect.succeed(Metadata.empty)
  })

type Facts = Pick<
  IncomingCall,
  "method" | "peer" | "metadata" | "deadline" | "draining" | "boundary" | "began" | "system" | "endConnection"
> &
  Partial<Pick<IncomingCall, "onDenied">>

export const make = (facts: Facts, connection: CallConnection = { peer: facts.peer }): IncomingCall => {
  const response: Response = {
    headers: Metadata.empty,
    trailers: Metadata.empty,
    headersSent: false,
    isTooLarge: false
  }
  return {
    method: facts.method,
    peer: facts.peer,
    connection,
    metadata: facts.metadata,
    deadline: facts.deadline,
    draining: facts.draining,
    response,
    boundary: facts.boundary,
    began: facts.began,
    system: facts.system,
    endConnection: facts.endConnection,
    onDenied: facts.onDenied,
    setHeaders: (input) =>
      Effect.flatMap(checked(input, response), (headers) => {
        if (response.headersSent) {
          return Effect.sync(() =>
            facts.boundary.log(
              LogLevel.Warning,
              `late headers of ${facts.method}`,
              `${facts.method}: response headers set after they were sent are dropped`
            )
          )
        }
        response.headers = Metadata.concat(response.headers, headers)
        return Effect.void
      }),
    setTrailers: (input) =>
      Effect.map(checked(input, response), (trailers) => {
        response.trailers = Metadata.concat(response.trailers, trailers)
      })
  }
}
