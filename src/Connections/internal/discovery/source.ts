/** What finds endpoints, and tells of them for as long as a client wants to know. */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Boundary } from "../../../Transport/internal/boundary.js"
import type { ConnectError } from "../../../Transport/TransportError.js"
import type { Listed } from "./endpoints.js"

/** Where a source tells what it finds. Neither function throws, and both may be called at any time until the scope closes. */
export interface Sink {
  /** All endpoints that there are now. */
  readonly found: (endpoints: Listed) => void
  /** There is no answer now; what was found last stays. */
  readonly failed: (error: ConnectError) => void
  readonly boundary: Boundary
}

/** A source that runs. */
export interface Running {
  /** Asks again soon: a connection was lost, or can't be made. */
  readonly again: () => void
}

/** Runs until the scope closes. */
export type Source = (sink: Sink) => Effect.Effect<Running, never, Scope.Scope>
