/** Whoever attacks, in a process of its own on the other core. */
import * as Abuse from "./abuse.js"
import * as Floods from "./floods.js"
import { type Attack, serve } from "./protocol.js"
import { connectFrom, eachOf } from "./source.js"

const [from = "127.0.0.3"] = process.argv.slice(2)
connectFrom(eachOf(from))

const attacks: { readonly [name: string]: Attack } = { ...Floods, ...Abuse }

let prepared: ((millis: number) => Promise<string>) | undefined

serve({
  prepare: async (name, wire, certificates, target) => {
    prepared = await attacks[name]?.(wire, certificates, target)
  },
  attack: (millis) => prepared?.(millis) ?? "there is no such attack"
})
