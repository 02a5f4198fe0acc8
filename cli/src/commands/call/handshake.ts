/** Who a node is, for `call -v`: what it presents in a handshake of its own, which the transport then verifies. */
import { X509Certificate } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import { Peer } from "effect-transport"
import { explain } from "../../shared/failure.js"
import type * as Wires from "../../shared/transport.js"
import { describe } from "../certs/describe.js"
import { presentedBy } from "../certs/presented.js"
import type { Verbose } from "./verbose.js"

const hostOf = (target: string): string =>
  Either.match(Peer.parseTarget(target), {
    onLeft: () => target,
    onRight: (parsed) => (parsed._tag === "Unix" ? "localhost" : parsed.host)
  })

/** Tells of the node's certificate; that it can't be had is told as well, and is no failure of the call. */
export const tell = (target: string, config: Wires.ConnectionConfig, { event }: Verbose): Effect.Effect<void> =>
  Effect.gen(function* () {
    const name = Option.getOrElse(config.serverName, () => hostOf(target))
    const { chain, protocol } = yield* presentedBy(target, name, config)
    const [leaf] = chain
    if (leaf === undefined) {
      return yield* event("peer", "the peer presents no certificate")
    }
    const { fingerprint, issuer, names, notAfter, subject } = yield* describe(new X509Certificate(leaf))
    const peer = { subject, issuer, names, fingerprint, notAfter, ...(protocol === undefined ? {} : { protocol }) }
    yield* event(
      "peer",
      `the peer presents ${subject} (${names.join(", ")}), issued by ${issuer}, until ${notAfter}, fingerprint ${fingerprint}` +
        (protocol === undefined ? "" : `, over ${protocol}`),
      peer
    )
  }).pipe(
    Effect.catchAll((error) => {
      const { message } = explain(error)
      return event("peer", `what the peer presents can't be told: ${message}`, { error: message })
    })
  )
