import { expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as ReassemblyBudget from "../../src/protocol/ReassemblyBudget.js"

const limit = 100

interface Message {
  readonly size: number
  hasBegun: boolean
}

it("messages that have begun fit the limit or are one alone, begin in their order, and all of them begin", () => {
  FastCheck.assert(
    FastCheck.property(
      FastCheck.array(
        FastCheck.record({ size: FastCheck.integer({ min: 1, max: 250 }), isGivenUp: FastCheck.boolean() }),
        {
          maxLength: 30
        }
      ),
      FastCheck.array(FastCheck.nat(), { minLength: 1 }),
      (wanted, picks) => {
        const budget = ReassemblyBudget.make<Message>()
        const waiting: Array<Message> = []
        const begun: Array<Message> = []
        const order: Array<Message> = []
        const check = () => {
          const total = begun.reduce((sum, { size }) => sum + size, 0)
          expect({ begun: budget.begun, size: budget.size }).toEqual({ begun: begun.length, size: total })
          expect(begun.length <= 1 || total <= limit).toBe(true)
        }
        const begin = () => {
          for (const message of [...waiting]) {
            if (ReassemblyBudget.mayBegin(budget, message, message.size, limit)) {
              ReassemblyBudget.begin(budget, message.size)
              ReassemblyBudget.leave(budget, message)
              message.hasBegun = true
              waiting.splice(waiting.indexOf(message), 1)
              begun.push(message)
              order.push(message)
            }
            check()
          }
        }
        const messages = wanted.map(({ size }) => ({ size, hasBegun: false }))
        const isGivenUp = new Set(messages.filter((_, at) => wanted[at]?.isGivenUp === true))
        for (const message of messages) {
          waiting.push(message)
          begin()
        }
        for (let round = 0; begun.length > 0; round++) {
          const [given] = waiting.filter((message) => isGivenUp.has(message))
          if (given !== undefined) {
            waiting.splice(waiting.indexOf(given), 1)
            ReassemblyBudget.leave(budget, given)
          }
          const [ended] = begun.splice((picks[round % picks.length] ?? 0) % begun.length, 1)
          ReassemblyBudget.end(budget, ended?.size ?? 0)
          begin()
        }
        expect(waiting).toEqual([])
        expect(order.map((message) => messages.indexOf(message))).toEqual(
          messages.flatMap((message, at) => (message.hasBegun ? [at] : []))
        )
      }
    )
  )
})
