/** The programs of docs/guide: each page's blocks are its file in examples/guide, and all of them run, in this process. */
import { readdirSync, readFileSync } from "node:fs"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { program as admission } from "../examples/guide/admission.js"
import { program as authorizers } from "../examples/guide/authorizers.js"
import { program as balancing } from "../examples/guide/balancing.js"
import { program as besideTheCalls } from "../examples/guide/beside-the-calls.js"
import { program as choosingAWire } from "../examples/guide/choosing-a-wire.js"
import { program as credentials } from "../examples/guide/credentials.js"
import { program as deadlines } from "../examples/guide/deadlines.js"
import { program as errorsAndRetries } from "../examples/guide/errors-and-retries.js"
import { program as gettingStarted } from "../examples/guide/getting-started.js"
import { program as interop } from "../examples/guide/interop.js"
import { program as kubernetes } from "../examples/guide/kubernetes.js"
import { program as middleware } from "../examples/guide/middleware.js"
import { program as migrating } from "../examples/guide/migrating.js"
import { program as performance } from "../examples/guide/performance.js"
import { program as reflectionHealth } from "../examples/guide/reflection-health.js"
import { program as resilience } from "../examples/guide/resilience.js"
import { program as rpcAndCluster } from "../examples/guide/rpc-and-cluster.js"
import { program as services } from "../examples/guide/services.js"
import { program as testing } from "../examples/guide/testing.js"
import { program as unixSockets } from "../examples/guide/unix-sockets.js"
import { HealthCheckResponse_ServingStatus as ServingStatus } from "../src/gen/grpc/health/v1/health_pb.js"
import { leavesNothing, within } from "./suite/fixtures/expect.js"

const guide = "docs/guide"

/** Pages with excerpts, of which other tests check the facts. `your-own-wire` is checked by docs.test.ts. */
const excerpts = new Set(["command-line", "your-own-wire"])

const pages = readdirSync(guide).map((file) => file.replace(/\.md$/, ""))
const blocks = (page: string) =>
  [...readFileSync(`${guide}/${page}.md`, "utf8").matchAll(/```ts\n(.*?)```\n/gs)].map(([, block = ""]) => block)

/** What the program of each page comes to. */
const programs: { readonly [page: string]: readonly [Effect.Effect<unknown, unknown>, unknown] } = {
  admission: [
    admission,
    { valid: true, denied: "PermissionDenied", allowed: ["10.0.0.0/8", "fd00::/8"], connections: 0 }
  ],
  authorizers: [
    authorizers,
    ["may do both", "may not call /poh.v1.PohService/ProveBatch", "may not connect: NotAuthorized"]
  ],
  balancing: [balancing, { before: 2, after: 3, last: ["ready", "ready", "ready"], others: 4, byName: true }],
  "beside-the-calls": [besideTheCalls, ["ok", "behind NAT"]],
  "choosing-a-wire": [choosingAWire, [{ valid: true, wrong: "NoCommonProtocol" }, true]],
  credentials: [credentials, [2, ["connected", "PinMismatch"]]],
  deadlines: [deadlines, { message: "DeadlineExceeded", late: "DeadlineExceeded", isSoon: true }],
  "errors-and-retries": [
    errorsAndRetries,
    [["not found: slots begin with 1", "over its quota: node-b"], "at attempt 3"]
  ],
  "getting-started": [gettingStarted, "slot 7: true, and 100 more"],
  interop: [
    interop,
    {
      valid: true,
      names: expect.arrayContaining(["poh.v1.PohService", "grpc.health.v1.Health"])
    }
  ],
  kubernetes: [kubernetes, { isServing: true, valid: true }],
  middleware: [middleware, { message: "for blue", refused: "who calls?" }],
  migrating: [migrating, ["blue", "blue", "blue"]],
  performance: [
    performance,
    { oneByOne: expect.any(Number), together: expect.any(Number), batched: expect.any(Number) }
  ],
  "reflection-health": [
    reflectionHealth,
    { before: ServingStatus.SERVING, during: ServingStatus.NOT_SERVING, after: ServingStatus.SERVING }
  ],
  resilience: [resilience, { message: "without its own", valid: true, breaker: "Closed" }],
  "rpc-and-cluster": [rpcAndCluster, ["hello node-b", 1000]],
  services: [
    services,
    [
      { message: "for blue", seen: ["node-a", "1"], accepted: 1000, heights: [3, 4], replies: 2 },
      expect.objectContaining({ txId: "2" })
    ]
  ],
  testing: [testing, [["try again", "valid"], "valid", "valid", "too slow"]],
  "unix-sockets": [unixSockets, { valid: true, isUnix: true }]
}

describe("the guide", () => {
  it("has a program for each page that has code", () => {
    const withCode = pages.filter((page) => !excerpts.has(page) && blocks(page).length > 0)
    expect(Object.keys(programs).toSorted()).toEqual(withCode.toSorted())
    expect(readdirSync("examples/guide").toSorted()).toEqual(withCode.map((page) => `${page}.ts`).toSorted())
  })

  it("names every page in its index", () => {
    const index = readFileSync(`${guide}/README.md`, "utf8")
    expect(pages.filter((page) => page !== "README" && !index.includes(`(${page}.md)`))).toEqual([])
  })

  describe.each(Object.entries(programs))("%s", (page, [program, expected]) => {
    it("is its example, piece by piece", () => {
      const example = readFileSync(`examples/guide/${page}.ts`, "utf8")
      expect(blocks(page).join("\n").replaceAll('"./gen/', '"../gen/')).toBe(example)
    })

    it.live("runs", () =>
      leavesNothing(Effect.map(within(program, "10 seconds"), (result) => expect(result).toEqual(expected)))
    )
  })
})
