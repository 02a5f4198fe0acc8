/** A network of this run's own, in which a whole /64 of IPv6 is on loopback. Linux, and root or namespaces of users. */
import { spawnSync } from "node:child_process"

/** The addresses there: of the listener, of the good client, and the network of whoever attacks. */
export const ipv6 = { listener: "fd00:1::1", good: "fd00:1::2", attacker: "fd00:bad::" }

const variable = "EFFECT_TRANSPORT_ATTACKS"

const setUp = `ip link set lo up && ip -6 addr add ${ipv6.listener}/128 dev lo && ip -6 addr add ${ipv6.good}/128 dev lo && ip -6 route add local ${ipv6.attacker}/64 dev lo && exec "$@"`

const works = (flags: ReadonlyArray<string>) =>
  spawnSync("unshare", [...flags, "sh", "-c", setUp, "sh", "true"], { stdio: "ignore" }).status === 0

/** Whether this process runs in one. */
export const isInside = process.env[variable] === "inside"

/** Runs this program again inside of one, and returns how it ended; undefined where there can be none. */
export const enter = (): number | undefined => {
  const flags = [["--net"], ["--map-root-user", "--net"]].find(works)
  if (flags === undefined) {
    return undefined
  }
  const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)]
  const { status } = spawnSync("unshare", [...flags, "sh", "-c", setUp, "sh", ...again], {
    stdio: "inherit",
    env: { ...process.env, [variable]: "inside" }
  })
  return status ?? 1
}
