import type { TxRequest } from "../../gen/dag/v1/dag_pb.js"

/** The most transactions in a block, so that it stays far below the 4 MiB that a message may have. */
const maxBlockSize = 1_000

/** The transactions that wait to be part of a block, and the ids of those that are. */
export const make = () => {
  const waiting = new Map<string, { readonly transaction: TxRequest; readonly from: number }>()
  const settled = new Set<string>()
  return {
    /** Keeps a transaction until a block holds it. From the given time on it is due. False if it is here already. */
    accept: (transaction: TxRequest, from: number): boolean => {
      if (waiting.has(transaction.txId) || settled.has(transaction.txId)) {
        return false
      }
      waiting.set(transaction.txId, { transaction, from })
      return true
    },
    /** What this node shall put into its next block. */
    due: (now: number): ReadonlyArray<TxRequest> =>
      [...waiting.values()]
        .filter(({ from }) => from <= now)
        .slice(0, maxBlockSize)
        .map(({ transaction }) => transaction),
    /** A block holds these. */
    settle: (transactions: ReadonlyArray<TxRequest>): void => {
      for (const { txId } of transactions) {
        settled.add(txId)
        waiting.delete(txId)
      }
    },
    settled: (): number => settled.size
  }
}
