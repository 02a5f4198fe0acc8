/** Long work as a generator, which yields wherever the event loop may do other work. */

/** Work in steps, with a result. */
export type Steps<A> = Generator<void, A>

/** Does the work in one go. */
export const runSync = <A>(steps: Steps<A>): A => {
  for (;;) {
    const step = steps.next()
    if (step.done === true) {
      return step.value
    }
  }
}

/** Does the work step by step, each in a turn of the event loop of its own. */
export const run = async <A>(steps: Steps<A>): Promise<A> => {
  for (;;) {
    const step = steps.next()
    if (step.done === true) {
      return step.value
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
}
