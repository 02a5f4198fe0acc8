import { hash } from "node:crypto"
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf"
import { type Block, BlockSchema } from "../../gen/dag/v1/dag_pb.js"

/** SHA-256 over everything in the block but the hash itself: transactions, parents, height, producer and time. */
const compute = (block: MessageInitShape<typeof BlockSchema>): Uint8Array => {
  const bytes = toBinary(BlockSchema, create(BlockSchema, { ...block, hash: new Uint8Array() }))
  return Uint8Array.from(hash("sha256", bytes, "buffer"))
}

/** The block with its hash. */
export const seal = (block: MessageInitShape<typeof BlockSchema>): Block =>
  create(BlockSchema, { ...block, hash: compute(block) })

export const isValid = (block: Block): boolean => toHex(block.hash) === toHex(compute(block))

/** Hashes as keys of maps, and for people. */
export const toHex = (hash: Uint8Array): string => Buffer.from(hash).toString("hex")
