/**
 * bare-quic with the client's driver in a thread of its own, to which calls and from which replies go as messages, those
 * of a turn of the event loop together. Protobuf is there too, so that this is the most that a thread could take over.
 */
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads"
import type { Certificates, Connection, Contestant } from "../contestant.js"
import bare from "./bare-quic.js"

type Messages = Array<readonly [call: number, payload: Uint8Array]>

/** Collects what is to be posted until the turn is over. */
const makePost = (post: (messages: Messages) => void) => {
  let messages: Messages = []
  const flush = () => {
    post(messages)
    messages = []
  }
  return (call: number, payload: Uint8Array) => {
    if (messages.length === 0) {
      setImmediate(flush)
    }
    messages.push([call, payload])
  }
}

const drive = async ({ certificates, port }: { readonly certificates: Certificates; readonly port: number }) => {
  const connection = await (await bare.client(certificates)).connect(port)
  const reply = makePost((messages) => parentPort?.postMessage(messages))
  parentPort?.on("message", (calls: Messages) => {
    for (const [call, payload] of calls) {
      let isMade = false
      const next = () => {
        const request = isMade ? undefined : { payload }
        isMade = true
        return request
      }
      connection.work({ next, done: (response) => reply(call, response.payload) })
    }
  })
  parentPort?.postMessage([])
}

const wrap = (worker: Worker): Connection => {
  const waiting = new Map<number, (payload: Uint8Array) => void>()
  const send = makePost((messages) => worker.postMessage(messages))
  let last = 0
  worker.on("message", (replies: Messages) => {
    for (const [call, payload] of replies) {
      const onReply = waiting.get(call)
      waiting.delete(call)
      onReply?.(payload)
    }
  })
  return {
    work: ({ done, next }) =>
      new Promise((resolve) => {
        const more = () => {
          const request = next()
          if (request === undefined) {
            return resolve()
          }
          last += 1
          waiting.set(last, (payload) => {
            done({ payload })
            more()
          })
          send(last, request.payload ?? new Uint8Array(0))
        }
        more()
      }),
    close: async () => {
      await worker.terminate()
    }
  }
}

if (!isMainThread) {
  await drive(workerData)
}

export default {
  serve: bare.serve,
  client: async (certificates) => ({
    connect: (port) =>
      new Promise((resolve, reject) => {
        const worker = new Worker(new URL(import.meta.url), { workerData: { certificates, port }, execArgv: [] })
        worker.once("message", () => resolve(wrap(worker)))
        worker.once("error", reject)
      }),
    close: async () => {}
  })
} satisfies Contestant
