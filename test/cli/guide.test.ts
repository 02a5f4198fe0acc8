import { readFile, writeFile } from "node:fs/promises"
import { delimiter } from "node:path"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { cli, commandFolder, plain } from "../fixtures/cli.js"
import { run, start } from "../fixtures/command.js"
import { directory } from "../suite/fixtures/system.js"

const page = "docs/guide/command-line.md"

/** What differs from one run to the next, and from one machine to the next. */
const normalized = (text: string): string =>
  text
    // A histogram has as many lines as the machine makes it have.
    .replace(/(?:^ +<= .*\n)+/gm, "  <= BARS\n")
    .replace(/^[▁-█]+$/gm, "BARS")
    .replace(/"histogram":\[.*?\]/g, '"histogram":[]')
    // What doctor looks at, and not what it finds.
    .replace(
      /^(effect-transport-cli|effect-transport|effect|node|QUIC|@[a-z]+\/[a-z]+|open files|clock) {2,}.*$/gm,
      "$1"
    )
    .replace(/\d{4}-\d\d-\d\d(T[\d:.]+Z)?/g, "DATE")
    .replace(/[0-9a-f]{24,}/g, "HEX")
    .replace(/\d+(\.\d+)?/g, "N")
    .replace(/ +/g, " ")

/** The commands of a block, each a line that begins with `$`. */
const commandsIn = (block: string): ReadonlyArray<string> =>
  block.split("\n").flatMap((line) => (line.startsWith("$ ") ? [line.slice(2)] : []))

/** The port that the page names; the system chooses another. */
const portOnPage = "50051"

it.scopedLive(
  "the terminal session of docs/guide/command-line.md is what the commands print; UPDATE=1 writes it",
  () =>
    Effect.gen(function* () {
      const dir = yield* directory
      const env = { ...plain, PATH: `${yield* commandFolder}${delimiter}${process.env.PATH}` }
      let port = portOnPage
      const real = (command: string) =>
        command.replace(`--port ${portOnPage}`, "--port 0").replaceAll(`:${portOnPage}`, `:${port}`)
      const shown = (text: string) => text.replaceAll(`:${port}`, `:${portOnPage}`)
      const record = (command: string) =>
        Effect.gen(function* () {
          if (command.endsWith(" &")) {
            const node = yield* start("bash", ["-c", `exec ${real(command).slice(0, -2)} 2>/dev/null`], dir, env)
            const [first, found = ""] = yield* node.said(/^listening on [^ ]*:(\d+) .*$/m)
            port = found
            return shown(`${first}\n`)
          }
          const [name, ...args] = real(command).split(" ")
          return shown(
            name === "effect-transport"
              ? (yield* cli(dir, args)).all
              : (yield* run("bash", ["-c", real(command)], dir, env)).text
          )
        })
      const text = yield* Effect.promise(() => readFile(page, "utf8"))
      const parts = text.split(/(?<=^```console\n)([\s\S]*?)(?=^```$)/m)
      const recorded: Array<string> = []
      for (const [index, part] of parts.entries()) {
        const isBlock = parts[index - 1]?.endsWith("```console\n") === true
        const lines = isBlock
          ? yield* Effect.forEach(commandsIn(part), (command) =>
              Effect.map(record(command), (printed) => `$ ${command}\n${printed}`)
            )
          : [part]
        recorded.push(lines.join(""))
      }
      const result = recorded.join("")
      expect(result.match(/^\$ /gm)?.length).toBeGreaterThan(15)
      if (process.env.UPDATE === "1") {
        yield* Effect.promise(() => writeFile(page, result))
      } else {
        expect(normalized(text)).toBe(normalized(result))
      }
    }),
  180_000
)
