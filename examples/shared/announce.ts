/** The first line of a program whose modules take a moment to load. It imports nothing. */

const only = ["--help", "-h", "--version", "--wizard", "--completions"]

/** Says that the program begins, unless it is asked for nothing but a text; on stderr where stdout is for JSON. */
export const announce = (who: string): void => {
  const args = process.argv.slice(2)
  if (!args.some((arg) => only.includes(arg.split("=")[0] ?? ""))) {
    const out = args.includes("--json") ? process.stderr : process.stdout
    out.write(`${(performance.now() / 1_000).toFixed(1).padStart(5)} s  ${who.padEnd(8)} begins\n`)
  }
}
