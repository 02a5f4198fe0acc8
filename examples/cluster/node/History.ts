import { hash, randomBytes } from "node:crypto"
import * as Effect from "effect/Effect"
import type { PohRequest } from "../../gen/poh/v1/poh_pb.js"
import { NodeConfig } from "./NodeConfig.js"

/** Hashes between two claims: about half a millisecond of work for the prover and for each verifier. */
const iterations = 500

/** More than this is refused: no peer decides how long this node is busy. */
const maxIterations = 10_000

/** Each hash is made of the one before, so that nobody can make the last one without having made all. */
const chain = (start: Uint8Array, iterations: number): Uint8Array => {
  let current = start
  for (let i = 0; i < iterations; i++) {
    current = hash("sha256", current, "buffer")
  }
  return Uint8Array.from(current)
}

/** What is wrong with a claim; undefined if it is true. */
export const refute = (claim: PohRequest): string | undefined =>
  claim.iterations < 1 || claim.iterations > maxIterations
    ? `${claim.iterations} iterations, not 1 to ${maxIterations}`
    : Buffer.compare(chain(claim.previousHash, claim.iterations), claim.hash) !== 0
      ? `${claim.iterations} iterations lead to another hash`
      : undefined

const make = Effect.gen(function* () {
  const { name } = yield* NodeConfig
  let slot = 0n
  let last: Uint8Array = randomBytes(32)
  return {
    /** Goes on by one slot and claims it. */
    advance: Effect.sync(() => {
      const previousHash = last
      last = chain(previousHash, iterations)
      slot += 1n
      return { slot, previousHash, iterations, hash: last, prover: name }
    })
  }
})

/** This node's proof of history: a chain of hashes whose length shows that time has passed. */
export class History extends Effect.Service<History>()("cluster/History", { accessors: true, effect: make }) {}
