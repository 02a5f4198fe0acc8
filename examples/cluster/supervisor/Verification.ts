import type { Block } from "../../gen/dag/v1/dag_pb.js"
import * as Blocks from "../node/Blocks.js"

/** The ledgers of all nodes by the name of the node, each as the node gave it. */
export type Ledgers = ReadonlyMap<string, ReadonlyArray<Block>>

export const hashes = (ledger: ReadonlyArray<Block>): ReadonlySet<string> =>
  new Set(ledger.map(({ hash }) => Blocks.toHex(hash)))

export const transactions = (ledger: ReadonlyArray<Block>): ReadonlySet<string> =>
  new Set(ledger.flatMap((block) => block.transactions.map(({ txId }) => txId)))

/** Is the block what its hash says, and one above the highest of its parents, which are all there? */
const isSound = (ledger: ReadonlyArray<Block>) => {
  const heights = new Map(ledger.map(({ hash, height }) => [Blocks.toHex(hash), height]))
  return (block: Block): boolean => {
    const parents = block.parents.flatMap((parent) => heights.get(Blocks.toHex(parent)) ?? [])
    return (
      Blocks.isSealed(block) && parents.length === block.parents.length && block.height === Blocks.heightAbove(parents)
    )
  }
}

const some = (items: Iterable<string>): string => {
  const all = [...items]
  return `${all.slice(0, 3).join(", ")}${all.length > 3 ? ` and ${all.length - 3} more` : ""}`
}

const difference = (a: ReadonlySet<string>, b: ReadonlySet<string>) => [...a].filter((item) => !b.has(item))

/** What is wrong, for people: nothing when all ledgers are sound and the same, and hold every acknowledged transaction. */
export const problems = (acknowledged: ReadonlySet<string>, ledgers: Ledgers): ReadonlyArray<string> => {
  const everything = new Set([...ledgers.values()].flatMap((ledger) => [...hashes(ledger)]))
  return [...ledgers].flatMap(([name, ledger]) => {
    const sound = isSound(ledger)
    const unsound = ledger.filter((block) => !sound(block)).map(({ hash }) => Blocks.toHex(hash))
    const blocks = difference(everything, hashes(ledger))
    const lost = difference(acknowledged, transactions(ledger))
    return [
      ...(unsound.length > 0 ? [`${name} has ${unsound.length} blocks that are not sound: ${some(unsound)}`] : []),
      ...(blocks.length > 0 ? [`${name} lacks ${blocks.length} blocks that others have: ${some(blocks)}`] : []),
      ...(lost.length > 0 ? [`${name} lacks ${lost.length} acknowledged transactions: ${some(lost)}`] : [])
    ]
  })
}
