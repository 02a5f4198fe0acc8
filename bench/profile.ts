import { writeFileSync } from "node:fs"

/** The part of a V8 CPU profile that is read here. */
export interface Profile {
  readonly nodes: ReadonlyArray<{
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  }>
  readonly samples: ReadonlyArray<number>
  readonly timeDeltas: ReadonlyArray<number>
}

type Shares = ReadonlyArray<readonly [name: string, share: number]>

/** Where the time went, as shares of it that add up to 1. */
export interface Summary {
  readonly packages: Shares
  readonly functions: Shares
}

const packageOf = (url: string, name: string): string => {
  if (url === "") {
    return name.startsWith("(") ? name : "(native)"
  }
  const [, installed] = /.*\/node_modules\/((?:@[^/]+\/)?[^./][^/]*)\//.exec(url) ?? []
  const [, own] = /\/(src\/[^/]+|bench|examples)\//.exec(url) ?? []
  return installed ?? own ?? (url.startsWith("node:") ? url.split("/").slice(0, 3).join("/") : url)
}

const shares = (times: ReadonlyMap<string, number>, total: number): Shares =>
  [...times].map(([name, time]) => [name, time / total] as const).sort((a, b) => b[1] - a[1])

/** Writes the profile to a file for Chrome's or VS Code's viewer, and sums it up by self time. */
export const summarize = (profile: Profile, file: string): Summary => {
  writeFileSync(file, JSON.stringify(profile))
  const frames = new Map(profile.nodes.map((node) => [node.id, node.callFrame]))
  const packages = new Map<string, number>()
  const functions = new Map<string, number>()
  let total = 0
  for (const [i, id] of profile.samples.entries()) {
    const frame = frames.get(id)
    const time = profile.timeDeltas[i] ?? 0
    if (frame !== undefined) {
      const { functionName, lineNumber, url } = frame
      const from = packageOf(url, functionName)
      const name = `${functionName || "(anonymous)"} ${from === functionName ? "" : `${from} ${url.split("/").at(-1)}:${lineNumber + 1}`}`
      packages.set(from, (packages.get(from) ?? 0) + time)
      functions.set(name, (functions.get(name) ?? 0) + time)
      total += time
    }
  }
  return { packages: shares(packages, total), functions: shares(functions, total) }
}
