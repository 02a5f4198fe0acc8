/** What docs/guide says beside TypeScript: install lines, contracts, certificates, manifests, other languages, and all errors. */
import { execFile } from "node:child_process"
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises"
import { dirname, join } from "node:path"
import { promisify } from "node:util"
import { describe, expect, it } from "@effect/vitest"
import * as CertManager from "@kubernetes-models/cert-manager/cert-manager.io/v1"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { BindError, CredentialsError, HandshakeFailed, MissingPackage, TransportError } from "effect-transport"
import * as Apps from "kubernetes-models/apps/v1"
import * as Core from "kubernetes-models/v1"
import * as Yaml from "yaml"
import { FromPem, FromPkcs12 } from "../examples/guide/credentials.js"
import { describeWhere, describeWith } from "./fixtures/command.js"
import { hasPythonModules, python } from "./fixtures/python.js"
import { directory } from "./suite/fixtures/system.js"

const pageOf = (page: string) => readFile(`docs/guide/${page}.md`, "utf8")

/** The blocks of a page in a language, without the indentation of lists. */
const blocksOf = (text: string, language: string): ReadonlyArray<string> =>
  [...text.matchAll(new RegExp(`^( *)\`\`\`${language}\\n(.*?)^ *\`\`\`$`, "gms"))].map(([, indent = "", block = ""]) =>
    block.replaceAll(new RegExp(`^${indent}`, "gm"), "")
  )

const run = (command: string, args: ReadonlyArray<string>, cwd: string, env: NodeJS.ProcessEnv = {}) =>
  Effect.promise(() => promisify(execFile)(command, args, { cwd, env: { ...process.env, ...env }, timeout: 60_000 }))

describe("getting-started", () => {
  it("installs for each package manager what README installs", async () => {
    const [, packages = ""] = /^npm install (effect-transport .*)$/m.exec(await readFile("README.md", "utf8")) ?? []
    const [block = ""] = blocksOf(await pageOf("getting-started"), "sh")
    expect(block.trim().split("\n")).toEqual(
      ["npm install", "pnpm add   ", "yarn add   ", "bun add    "].map((add) => `${add} ${packages}`)
    )
  })

  it.scopedLive("generates the service of its contract with its two files", () =>
    Effect.gen(function* () {
      const page = yield* Effect.promise(() => pageOf("getting-started"))
      const dir = yield* directory
      const [module = "", template = ""] = blocksOf(page, "yaml")
      const [contract = ""] = blocksOf(page, "proto")
      yield* Effect.promise(async () => {
        for (const [file, text] of [
          ["buf.yaml", module],
          ["buf.gen.yaml", template],
          ["proto/poh/v1/poh.proto", contract]
        ] as const) {
          await mkdir(join(dir, dirname(file)), { recursive: true })
          await writeFile(join(dir, file), text)
        }
      })
      const bin = join(process.cwd(), "node_modules/.bin")
      const env = { PATH: `${bin}:${process.env.PATH}`, XDG_CACHE_HOME: join(dir, "cache") }
      yield* run(join(bin, "buf"), ["generate"], dir, env)
      const generated = yield* Effect.promise(() => readFile(join(dir, "src/gen/poh/v1/poh_pb.ts"), "utf8"))
      expect(generated).toContain("export const PohService: GenService<")
      expect(generated).toContain("export const PohRequestSchema: GenMessage<PohRequest>")
    })
  )
})

describeWith(["openssl", "sh"], "credentials: openssl", () => {
  it.scopedLive("makes files that the layers take", () =>
    Effect.gen(function* () {
      const dir = yield* directory
      const page = yield* Effect.promise(() => pageOf("credentials"))
      const [script = ""] = blocksOf(page, "sh").filter((block) => block.includes("openssl req -x509"))
      yield* run("sh", ["-ec", script], dir)
      yield* run("openssl", ["verify", "-CAfile", "ca.crt", "node.crt"], dir)
      yield* Layer.build(FromPem(dir))
      yield* Layer.build(FromPkcs12(dir))
    })
  )
})

describe("kubernetes", () => {
  const models = new Map<string, new (manifest: never) => { readonly validate: () => void }>([
    ["cert-manager.io/v1 Certificate", CertManager.Certificate],
    ["apps/v1 Deployment", Apps.Deployment],
    ["v1 Service", Core.Service]
  ])

  const validate = (manifest: { readonly apiVersion: string; readonly kind: string }) => {
    const Model = models.get(`${manifest.apiVersion} ${manifest.kind}`)
    if (Model === undefined) {
      throw new Error(`no schema of ${manifest.apiVersion} ${manifest.kind}`)
    }
    new Model(manifest as never).validate()
  }

  const manifests = async () =>
    blocksOf(await pageOf("kubernetes"), "yaml")
      .filter((block) => block.startsWith("apiVersion"))
      .flatMap((block) => Yaml.parseAllDocuments(block).map((document) => document.toJS()))

  it("has manifests that are as Kubernetes and cert-manager want them", async () => {
    const all = await manifests()
    expect(all.map(({ kind }) => kind)).toEqual(["Certificate", "Deployment", "Service"])
    for (const manifest of all) {
      validate(manifest)
    }
  })

  it("would notice a field that is misplaced", async () => {
    const [, deployment] = await manifests()
    deployment.spec.template.spec.containers[0].readinessProbe.grpc.port = "calls"
    expect(() => validate(deployment)).toThrow(/port/)
  })

  it("has a probe for each container that Kubernetes takes in place of the other", async () => {
    const [probe = ""] = blocksOf(await pageOf("kubernetes"), "yaml").filter((block) =>
      block.startsWith("livenessProbe")
    )
    const [, deployment] = await manifests()
    Object.assign(deployment.spec.template.spec.containers[0], Yaml.parse(probe))
    validate(deployment)
  })

  it("gives a pod longer to end than its parts take", async () => {
    const [, { spec }] = await manifests()
    const { lifecycle } = spec.template.spec.containers[0]
    const [, gracePeriod] = /gracePeriod: "(\d+) seconds"/.exec(await pageOf("kubernetes")) ?? []
    expect(spec.template.spec.terminationGracePeriodSeconds).toBeGreaterThan(
      lifecycle.preStop.sleep.seconds + Number(gracePeriod)
    )
  })
})

describe("runtimes", () => {
  it("are those that .ci/run has, on this page and in README", async () => {
    const script = await readFile(".ci/run", "utf8")
    const [, nodes = ""] = /for version in ([\d ]+); do\n +runtime "Node/.exec(script) ?? []
    const others = [...script.matchAll(/^ +runtime (\w+) /gm)].map(([, name = ""]) => name)
    const named = [nodes.trim().replaceAll(" ", ", "), ...others]
    expect(named).toEqual(["22, 24, 26", "Bun", "Deno"])
    for (const text of [await pageOf("runtimes"), await readFile("README.md", "utf8")]) {
      expect(named.filter((name) => !new RegExp(`^\\| (?:Node )?${name}\\b`, "m").test(text))).toEqual([])
    }
  })

  it("are had by a script that bash can read", async () => {
    await promisify(execFile)("bash", ["-n", ".ci/run"])
  })
})

describe("metrics", () => {
  it("that pages name are there", async () => {
    const files = async (folder: string, ending: string) =>
      (await readdir(folder, { recursive: true }))
        .filter((file) => file.endsWith(ending))
        .map((file) => join(folder, file))
    const textOf = async (paths: ReadonlyArray<string>) =>
      (await Promise.all(paths.map((path) => readFile(path, "utf8")))).join("\n")
    const source = await textOf(await files("src", ".ts"))
    const pages = await textOf([...(await files("docs/guide", ".md")), "docs/security.md", "README.md"])
    const named = new Set(pages.match(/effect_transport_[a-z_]*[a-z]/g))
    expect(named.size).toBeGreaterThan(10)
    // Exporters to Prometheus add `_total` to what they count.
    expect([...named].filter((name) => !source.includes(`"${name.replace(/_total$/, "")}"`))).toEqual([])
  })
})

describe("not-offered", () => {
  it("has YAML that can be read", async () => {
    for (const block of blocksOf(await pageOf("not-offered"), "yaml")) {
      expect(Yaml.parse(block)).toBeTypeOf("object")
    }
  })
})

describeWith(["gofmt"], "interop: Go", () => {
  it.scopedLive("can be read", () =>
    Effect.gen(function* () {
      const dir = yield* directory
      const page = yield* Effect.promise(() => pageOf("interop"))
      const [client = "", server = ""] = blocksOf(page, "go")
      yield* Effect.promise(() => writeFile(join(dir, "client.go"), client))
      const inMain = `package main\n\nfunc main() {\n${server.replaceAll(/^(?=.)/gm, "\t")}}\n`
      yield* Effect.promise(() => writeFile(join(dir, "server.go"), inMain))
      expect((yield* run("gofmt", ["-l", "-e", "."], dir)).stdout).toBe("")
    })
  )
})

describeWhere(hasPythonModules("ast"), "interop: Python", `there is no ${python}`, () => {
  it.scopedLive("can be read", () =>
    Effect.gen(function* () {
      const page = yield* Effect.promise(() => pageOf("interop"))
      const blocks = blocksOf(page, "python")
      expect(blocks.length).toBe(2)
      yield* run(python, ["-c", "import ast, sys; ast.parse(sys.argv[1])", blocks.join("\n")], ".")
    })
  )
})

describe("troubleshooting", () => {
  const section = (page: string, title: string) => page.split(/^## /m).find((part) => part.startsWith(title)) ?? ""
  /** What stands first in the rows of a table. */
  const rows = (text: string) =>
    [...text.matchAll(/^\| `(\w+)`/gm)].map(([, name]) => name).filter((name) => name !== "reason")

  it.each([
    ["HandshakeFailed", HandshakeFailed, TransportError.HandshakeReason.literals],
    ["CredentialsError", CredentialsError, TransportError.CredentialsReason.literals],
    ["BindError", BindError, TransportError.BindReason.literals],
    ["MissingPackage", MissingPackage, TransportError.MissingReason.literals]
  ] as const)("has every reason of %s, in their order", async (title, error, reasons) => {
    expect(error._tag).toBe(title)
    expect(rows(section(await pageOf("troubleshooting"), `\`${title}\``))).toEqual(reasons)
  })

  it("has every status with its code", async () => {
    const table = section(await pageOf("troubleshooting"), "Statuses")
    expect([...table.matchAll(/^\| `(\w+)` +\| (\d+) /gm)].map(([, name, code]) => [Number(code), name])).toEqual(
      Object.entries(TransportError.statusErrors).map(([code, clazz]) => [Number(code), clazz._tag])
    )
  })

  it("has every error that the library exports", async () => {
    const page = await pageOf("troubleshooting")
    const tags = Object.values(TransportError).flatMap((each) =>
      typeof each === "function" && "_tag" in each && typeof each._tag === "string" ? [each._tag] : []
    )
    expect(tags.length).toBeGreaterThanOrEqual(20)
    expect(tags.filter((tag) => !page.includes(`\`${tag}\``))).toEqual([])
  })
})
