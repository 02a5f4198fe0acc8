import { hash } from "node:crypto"
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf"
import * as Bigint from "effect/BigInt"
import { type Block, BlockSchema } from "../../gen/dag/v1/dag_pb.js"

/** SHA-256 over everything in the block but the hash itself: parents, height, transactions, producer and time. */
const hashOf = (block: MessageInitShape<typeof BlockSchema>): Uint8Array => {
  const bytes = toBinary(BlockSchema, create(BlockSchema, { ...block, hash: new Uint8Array() }))
  return Uint8Array.from(hash("sha256", bytes, "buffer"))
}

/** The block with its hash. */
export const seal = (block: MessageInitShape<typeof BlockSchema>): Block =>
  create(BlockSchema, { ...block, hash: hashOf(block) })

/** Is the block what its hash says? */
export const isSealed = (block: Block): boolean => toHex(block.hash) === toHex(hashOf(block))

/** The height of a block with parents of these heights. */
export const heightAbove = (parents: ReadonlyArray<bigint>): bigint =>
  parents.reduce((height, parent) => Bigint.max(height, parent + 1n), 0n)

/** Hashes as keys of maps, and for people. */
export const toHex = (hash: Uint8Array): string => Buffer.from(hash).toString("hex")
