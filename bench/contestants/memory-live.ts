/** MemoryLive, which reaches its own process alone: the client's process serves too, and its CPU is that of both sides. */
import * as Memory from "effect-transport/MemoryLive"
import type { Contestant } from "../contestant.js"
import * as Ours from "../ours.js"

// Names are not resolved here: what listens on 0.0.0.0 isn't reached as 127.0.0.1.
const memory = Ours.make(Memory.MemoryLive, "transport")

export default {
  serve: async () => 0,
  client: async (certificates) => {
    const port = await memory.serve(certificates, () => undefined)
    const client = await memory.client(certificates)
    return { connect: () => client.connect(port), close: client.close }
  }
} satisfies Contestant
