/**
 * What a channel of grpc-js connects to: one address, found before it as on every wire. The resolvers of grpc-js take an
 * address for the host of a URL, which has no zones, and a path for a line.
 */
import * as Grpc from "@grpc/grpc-js"
import type * as Peer from "../../../Transport/Peer.js"

const { registerResolver, statusOrFromValue } = Grpc.experimental
type Constructor = Parameters<typeof registerResolver>[1]
type Given = ConstructorParameters<Constructor>

const scheme = "effect-transport"

export const format = (to: Peer.Target): string =>
  `${scheme}:${encodeURIComponent((to._tag === "Unix" ? to.path : to.host).toWellFormed())}${to._tag === "Unix" ? "" : ` ${to.port}`}`

const parse = (text: string) => {
  const [where = "", port] = text.split(" ")
  return port === undefined
    ? { path: decodeURIComponent(where) }
    : { host: decodeURIComponent(where), port: Number(port) }
}

class OneAddress {
  private isToldOnce = false
  constructor(
    readonly target: Given[0],
    readonly listener: Given[1]
  ) {}
  updateResolution(): void {
    if (!this.isToldOnce) {
      this.isToldOnce = true
      const endpoints = [{ addresses: [parse(this.target.path)] }]
      process.nextTick(() => this.listener(statusOrFromValue(endpoints), {}, null, ""))
    }
  }
  destroy(): void {
    this.isToldOnce = false
  }
  /** For a URL that nobody sees: `grpc.default_authority` is what requests say. */
  static getDefaultAuthority(): string {
    return "localhost"
  }
}

registerResolver(scheme, OneAddress)
