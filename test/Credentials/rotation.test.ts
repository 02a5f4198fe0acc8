import { existsSync, promises as fs, readdirSync, readFileSync } from "node:fs"
import { mkdir, mkdtemp, open, rename, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, it, vi } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TlsLive, Transport } from "effect-transport"
import * as Credentials from "../../src/Credentials/Credentials.js"
import * as DevCa from "../../src/Credentials/DevCa.js"
import { directoriesOf } from "../../src/Credentials/FileWatch.js"
import * as TransportMetrics from "../../src/Transport/TransportMetrics.js"
import { tlsOf } from "../fixtures/tls.js"
import { eventually, within } from "../suite/fixtures/expect.js"
import { captureLog } from "../suite/fixtures/observe.js"

const directory = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "rotation-"))),
  (path) => Effect.promise(() => rm(path, { recursive: true }))
)

const run = (body: () => Promise<unknown>) => Effect.promise(body)

/** Replaces a file in one step, as a careful writer does. */
const replace = async (path: string, text: string) => {
  await writeFile(`${path}.new`, text)
  await rename(`${path}.new`, path)
}

const fingerprintOf = (material: Credentials.Material) =>
  material._tag === "Tls"
    ? Option.map(material.certificate, ({ identity }) => identity.fingerprint).pipe(Option.getOrUndefined)
    : undefined

const fingerprint = (issued: DevCa.Issued, ca: string) =>
  Effect.map(tlsOf(Credentials.layerPem({ ...issued, ca })), fingerprintOf)

const quick = { settle: "20 millis", pollInterval: "1 hour" } as const

const service = (options: Parameters<typeof Credentials.layerPem>[0]) =>
  Effect.map(Layer.build(Credentials.layerPem(options)), Context.get(Credentials.Credentials))

/** Waits until the credentials are these. */
const becomes = (credentials: Credentials.CredentialsService, expected: string | undefined) =>
  within(
    Stream.runHead(Stream.filter(credentials.changes, (material) => fingerprintOf(material) === expected)),
    "5 seconds"
  ).pipe(Effect.asVoid)

const failures = (reason: string) =>
  Effect.map(
    Metric.value(Metric.tagged(TransportMetrics.credentialsRotationFailures, "reason", reason)),
    ({ count }) => count
  )

const rotations = Effect.map(Metric.value(TransportMetrics.credentialsRotations), ({ count }) => count)

/** Two certificates of one CA, the first of which is in files. */
const files = Effect.gen(function* () {
  const ca = yield* DevCa.make()
  const [first, second] = [yield* ca.issue({ names: ["a"] }), yield* ca.issue({ names: ["b"] })]
  const dir = yield* directory
  const paths = { cert: join(dir, "tls.crt"), key: join(dir, "tls.key"), ca: join(dir, "ca.crt") }
  const write = (issued: DevCa.Issued, to = dir) =>
    run(async () => {
      await writeFile(join(to, "tls.crt"), issued.cert)
      await writeFile(join(to, "tls.key"), Redacted.value(issued.key))
      await writeFile(join(to, "ca.crt"), ca.ca)
    })
  yield* write(first)
  return {
    ca,
    dir,
    paths,
    write,
    first: { ...first, fingerprint: yield* fingerprint(first, ca.ca) },
    second: { ...second, fingerprint: yield* fingerprint(second, ca.ca) }
  }
})

/** What this process watches, as Linux counts it. */
const watches = () =>
  readdirSync("/proc/self/fdinfo").flatMap((fd) => {
    try {
      return readFileSync(`/proc/self/fdinfo/${fd}`, "utf8").match(/^inotify wd/gm) ?? []
    } catch {
      return []
    }
  }).length

describe("credentials from files follow", () => {
  it.scopedLive("files that are renamed into place, one after the other", () =>
    Effect.gen(function* () {
      const { first, paths, second } = yield* files
      const credentials = yield* service({ ...paths, ...quick })
      expect(fingerprintOf(yield* credentials.current)).toBe(first.fingerprint)
      const before = yield* rotations
      yield* run(() => replace(paths.key, Redacted.value(second.key)))
      yield* run(() => replace(paths.cert, second.cert))
      yield* becomes(credentials, second.fingerprint)
      expect(fingerprintOf(yield* credentials.current)).toBe(second.fingerprint)
      expect(yield* rotations).toBe(before + 1)
    })
  )

  it.scopedLive("until their scope closes, also where they were made by what can't be interrupted", () =>
    Effect.gen(function* () {
      const { paths } = yield* files
      const scope = yield* Scope.make()
      yield* Effect.gen(function* () {
        const credentials = yield* service({ ...paths, ...quick })
        yield* Layer.build(Layer.provide(TlsLive, Layer.succeed(Credentials.Credentials, credentials))).pipe(
          Effect.flatMap((context) => Effect.provide(Transport.listen([]), context))
        )
      }).pipe(Scope.extend(scope), Effect.uninterruptible)
      yield* within(Scope.close(scope, Exit.void), "5 seconds")
    })
  )

  it.scopedLive("the link that Kubernetes swaps, again and again", () =>
    Effect.gen(function* () {
      const { dir, first, second, write } = yield* files
      const mount = join(dir, "mount")
      const swap = (to: string) =>
        run(async () => {
          await symlink(to, join(mount, "..data_tmp"))
          await rename(join(mount, "..data_tmp"), join(mount, "..data"))
        })
      yield* run(() => mkdir(join(mount, "..1"), { recursive: true }))
      yield* write(first, join(mount, "..1"))
      yield* swap("..1")
      for (const name of ["tls.crt", "tls.key", "ca.crt"]) {
        yield* run(() => symlink(join("..data", name), join(mount, name)))
      }
      const credentials = yield* service({
        cert: join(mount, "tls.crt"),
        key: join(mount, "tls.key"),
        ca: join(mount, "ca.crt"),
        ...quick
      })
      expect(fingerprintOf(yield* credentials.current)).toBe(first.fingerprint)
      for (const [n, issued] of [
        [2, second],
        [3, first],
        [4, second]
      ] as const) {
        yield* run(() => mkdir(join(mount, `..${n}`)))
        yield* write(issued, join(mount, `..${n}`))
        yield* swap(`..${n}`)
        yield* run(() => rm(join(mount, `..${n - 1}`), { recursive: true }))
        yield* becomes(credentials, issued.fingerprint)
      }
    })
  )

  it.scopedLive("a directory above them that is a link", () =>
    Effect.gen(function* () {
      const { dir, first, second, write } = yield* files
      for (const [name, issued] of [
        ["one", first],
        ["two", second]
      ] as const) {
        yield* run(() => mkdir(join(dir, name)))
        yield* write(issued, join(dir, name))
      }
      const current = join(dir, "current")
      yield* run(() => symlink("one", current))
      expect([...(yield* Effect.promise(() => directoriesOf(join(current, "tls.crt"))))]).toEqual([
        dir,
        join(dir, "one")
      ])
      const credentials = yield* service({
        cert: join(current, "tls.crt"),
        key: join(current, "tls.key"),
        ca: join(current, "ca.crt"),
        ...quick
      })
      yield* run(async () => {
        await symlink("two", `${current}.new`)
        await rename(`${current}.new`, current)
      })
      yield* becomes(credentials, second.fingerprint)
      yield* write(first, join(dir, "two"))
      yield* becomes(credentials, first.fingerprint)
    })
  )

  it.scopedLive("files that are written in place and in pieces", () =>
    Effect.gen(function* () {
      const { paths, second } = yield* files
      const credentials = yield* service({ ...paths, ...quick })
      const seen: Array<Credentials.Material> = []
      yield* Effect.forkScoped(Stream.runForEach(credentials.changes, (one) => Effect.sync(() => seen.push(one))))
      yield* run(async () => {
        await writeFile(paths.key, Redacted.value(second.key))
        const file = await open(paths.cert, "w")
        for (let at = 0; at < second.cert.length; at += 50) {
          await file.write(second.cert.slice(at, at + 50))
          await file.sync()
        }
        await file.close()
      })
      yield* becomes(credentials, second.fingerprint)
      expect(seen.map(fingerprintOf).at(-1)).toBe(second.fingerprint)
      expect(seen.length).toBe(2)
    })
  )

  it.scopedLive("a directory that is replaced, by looking from time to time", () =>
    Effect.gen(function* () {
      const { dir, first, second, write } = yield* files
      const own = join(dir, "own")
      yield* run(() => mkdir(own))
      yield* write(first, own)
      const credentials = yield* service({
        cert: join(own, "tls.crt"),
        key: join(own, "tls.key"),
        ca: join(own, "ca.crt"),
        settle: "20 millis",
        pollInterval: "50 millis"
      })
      yield* run(() => rename(own, `${own}.old`))
      yield* run(() => mkdir(own))
      yield* write(second, own)
      yield* becomes(credentials, second.fingerprint)
    })
  )

  it.scopedLive("a bundle of CAs: A, A and B, B", () =>
    Effect.gen(function* () {
      const { ca, paths } = yield* files
      const other = yield* DevCa.make()
      const credentials = yield* service({ ...paths, ...quick })
      for (const bundle of [ca.ca + other.ca, other.ca]) {
        yield* run(() => replace(paths.ca, bundle))
        yield* within(
          Stream.runHead(
            Stream.filter(credentials.changes, (one) => one._tag === "Tls" && one.ca.join("").trim() === bundle.trim())
          ),
          "5 seconds"
        )
      }
    })
  )

  it.scopedLive("the CAs of a trust domain", () =>
    Effect.gen(function* () {
      const { ca, dir, paths } = yield* files
      const other = yield* DevCa.make()
      const domain = join(dir, "domain.crt")
      yield* run(() => writeFile(domain, ca.ca))
      const credentials = yield* service({ ...paths, ...quick, trustDomains: { "a.example": domain } })
      yield* run(() => replace(domain, other.ca))
      const isNew = (material: Credentials.Material) =>
        material._tag === "Tls" && material.trustDomains?.["a.example"]?.join("").trim() === other.ca.trim()
      yield* within(Stream.runHead(Stream.filter(credentials.changes, isNew)), "5 seconds")
    })
  )

  it.scopedLive("nothing where that is switched off", () =>
    Effect.gen(function* () {
      const { paths } = yield* files
      const before = watches()
      yield* service({ ...paths, watch: false })
      expect(watches()).toBe(before)
    })
  )
})

describe("what can't be used leaves the last good credentials in place", () => {
  it.scopedLive("with a line in the log and a count, and the next good ones are taken", () =>
    Effect.gen(function* () {
      const { ca, first, paths, second } = yield* files
      const { layer, lines } = yield* captureLog
      const credentials = yield* Effect.provide(service({ ...paths, ...quick, settle: "200 millis" }), layer)
      const day = 24 * 3600_000
      const expired = yield* ca.issue({
        names: ["a"],
        notBefore: new Date(Date.now() - 2 * day),
        notAfter: new Date(Date.now() - day)
      })
      let good = first
      for (const [reason, spoil] of [
        ["KeyMismatch", () => replace(paths.cert, expired.cert)],
        [
          "Expired",
          async () => {
            await replace(paths.key, Redacted.value(expired.key))
            await replace(paths.cert, expired.cert)
          }
        ],
        ["Malformed", () => replace(paths.cert, "-----BEGIN CERTIFICATE-----\nMIIB")],
        ["NotFound", () => rm(paths.ca)]
      ] as const) {
        const before = yield* failures(reason)
        const logged = lines.length
        yield* run(spoil)
        yield* eventually(
          Effect.map(failures(reason), (count) => expect(count).toBe(before + 1)),
          "5 seconds"
        )
        expect(fingerprintOf(yield* credentials.current)).toBe(good.fingerprint)
        expect(lines.slice(logged)).toMatchObject([
          { level: "WARN", text: expect.stringContaining("keeping the previous credentials") }
        ])
        // Whole again, with the other pair.
        good = good === first ? second : first
        yield* run(async () => {
          await replace(paths.ca, ca.ca)
          await replace(paths.key, Redacted.value(good.key))
          await replace(paths.cert, good.cert)
        })
        yield* becomes(credentials, good.fingerprint)
      }
      expect(lines.map(({ text }) => text).join("\n")).not.toContain("PRIVATE KEY")
    })
  )

  it.scopedLive(
    "files that can't be looked at hold neither the event loop nor more than one thread, and are taken when they can",
    () =>
      Effect.gen(function* () {
        const dir = yield* directory
        const ca = yield* DevCa.make()
        const issue = ca.issue({ names: ["a"] })
        const [first, old, next] = [yield* issue, yield* issue, yield* issue]
        const [cert, key] = [join(dir, "tls.crt"), join(dir, "tls.key")]
        const write = ({ cert: text, key: secret }: DevCa.Issued) =>
          run(async () => {
            await replace(key, Redacted.value(secret))
            await replace(cert, text)
          })
        yield* write(first)
        const { layer, lines } = yield* captureLog
        const options = { cert, key, ca: ca.ca, settle: "20 millis", pollInterval: "100 millis" } as const
        const credentials = yield* Effect.provide(service(options), layer)
        yield* write(old)
        yield* becomes(credentials, yield* fingerprint(old, ca.ca))
        let asked = 0
        const answers: Array<() => void> = []
        const real = fs.stat
        const spy = vi.spyOn(fs, "stat").mockImplementation((async (...args: Parameters<typeof real>) => {
          asked += 1
          await new Promise<void>((resolve) => answers.push(resolve))
          return real(...args)
        }) as typeof real)
        yield* Effect.addFinalizer(() => Effect.sync(() => spy.mockRestore()))
        yield* write(next)
        yield* eventually(
          Effect.sync(() =>
            expect(lines.filter(({ text }) => text.includes("can't be checked within 5s"))).toHaveLength(1)
          ),
          "10 seconds"
        )
        expect(asked).toBe(1)
        spy.mockRestore()
        for (const answer of answers) {
          answer()
        }
        yield* becomes(credentials, yield* fingerprint(next, ca.ca))
      })
  )

  it.scopedLive("a certificate that is not valid yet is used when it is", () =>
    Effect.gen(function* () {
      const { ca, paths } = yield* files
      const credentials = yield* service({ ...paths, settle: "20 millis", pollInterval: "100 millis" })
      // Certificates count in seconds.
      const soon = yield* ca.issue({ names: ["c"], notBefore: new Date(Math.ceil(Date.now() / 1000) * 1000 + 1000) })
      const before = yield* failures("NotYetValid")
      yield* run(() => replace(paths.key, Redacted.value(soon.key)))
      yield* run(() => replace(paths.cert, soon.cert))
      yield* within(
        Stream.runHead(
          Stream.filter(
            credentials.changes,
            (one) => one._tag === "Tls" && Option.exists(one.certificate, ({ identity }) => identity.subject === "CN=c")
          )
        ),
        "5 seconds"
      )
      expect(yield* failures("NotYetValid")).toBe(before + 1)
    })
  )
})

describe("the watching ends with its scope", () => {
  it.live.runIf(existsSync("/proc/self/fdinfo"))("and leaves no watch behind", () =>
    Effect.gen(function* () {
      const before = watches()
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { paths } = yield* files
          yield* service({ ...paths, ...quick })
          yield* eventually(Effect.sync(() => expect(watches()).toBe(before + 1)))
        })
      )
      expect(watches()).toBe(before)
    })
  )

  it.live("and nothing is left when the first reading fails", () =>
    Effect.gen(function* () {
      const before = existsSync("/proc/self/fdinfo") ? watches() : 0
      const error = yield* Effect.flip(Effect.scoped(service({ ca: { file: "/nowhere/ca.crt" } })))
      expect(error.reason).toBe("NotFound")
      expect(existsSync("/proc/self/fdinfo") ? watches() : 0).toBe(before)
    })
  )
})

describe("the end of a certificate", () => {
  const lifetime = (commonName: string, past: number, future: number) =>
    Effect.gen(function* () {
      const ca = yield* DevCa.make()
      const now = Date.now()
      const issued = yield* ca.issue({
        names: ["a"],
        commonName,
        notBefore: new Date(now - past * 3600_000),
        notAfter: new Date(now + future * 3600_000)
      })
      return { ...issued, ca: ca.ca }
    })

  it.scopedLive("is a metric, and a warning when it is near", () =>
    Effect.gen(function* () {
      const { layer, lines } = yield* captureLog
      const warned = (text: string) =>
        lines.filter(({ level }) => level === "WARN").filter((line) => line.text.includes(text))
      const seconds = (subject: string) =>
        Effect.map(
          Metric.value(Metric.tagged(TransportMetrics.credentialsSecondsToExpiry, "subject", subject)),
          ({ value }) => value
        )
      const known = (subject: string, hours: number) =>
        eventually(
          Effect.map(seconds(subject), (value) => {
            expect(value).toBeGreaterThan(hours * 3600 - 60)
            expect(value).toBeLessThanOrEqual(hours * 3600)
          })
        )
      yield* Effect.provide(service(yield* lifetime("fresh", 1, 23)), layer)
      yield* known("CN=fresh", 23)
      expect(warned("expires")).toEqual([])
      yield* Effect.provide(service(yield* lifetime("near", 20, 4)), layer)
      yield* known("CN=near", 4)
      yield* eventually(Effect.sync(() => expect(warned("expires in 4h").length).toBe(1)))
      yield* Effect.provide(service(yield* lifetime("long", 24 * 90, 24 * 6)), layer)
      yield* eventually(Effect.sync(() => expect(warned("expires in 6d").length).toBe(1)))
      yield* Effect.provide(service({ ...(yield* lifetime("asked", 1, 23)), warnBefore: "1 day" }), layer)
      yield* eventually(Effect.sync(() => expect(warned("expires in 23h").length).toBe(1)))
      yield* Effect.provide(service({ ...(yield* lifetime("calm", 20, 4)), warnBefore: 0 }), layer)
      yield* known("CN=calm", 4)
      expect(warned("expires").length).toBe(3)
    })
  )
})
