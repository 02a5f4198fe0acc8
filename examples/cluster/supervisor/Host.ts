import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { NodeEvent, Order } from "../protocol.js"

/** A node, seen from outside. */
export interface RunningNode {
  /** What it reports, until it ends. */
  readonly events: Stream.Stream<NodeEvent>
  readonly order: (order: Order) => Effect.Effect<void>
  /** Lets it end by itself. */
  readonly release: Effect.Effect<void>
  /** Ends it at once. */
  readonly kill: Effect.Effect<void>
}

/** Something that nodes run on. A node gets its configuration as environment variables, and ends with the scope. */
export type Host = (
  environment: Readonly<Record<string, string>>
) => Effect.Effect<RunningNode, never, Scope.Scope | CommandExecutor.CommandExecutor>
