/** A contract, wherever it comes from. */
import type { FileRegistry } from "@bufbuild/protobuf"
import type * as Effect from "effect/Effect"
import type { TransportError } from "effect-transport"
import type { Failure } from "../shared/failure.js"

/** Why a contract can't be had. */
export type Failed = Failure | TransportError.CallError

/** Services, and the files that declare them. */
export interface Contract {
  /** The full names of all services, sorted. */
  readonly services: Effect.Effect<ReadonlyArray<string>, Failed>
  /** The files that declare these symbols and what those import; of all services without symbols. */
  readonly files: (symbols?: ReadonlyArray<string>) => Effect.Effect<FileRegistry, Failed>
}
