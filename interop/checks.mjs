// Counting checks for the Node scripts: each runs, prints one line, and a failed one does not
// hide the next. The same as checks.py, in the other language.

import { readFileSync } from 'node:fs'

/** What `run.py` registered: the JSON file named by the first argument. */
export const context = JSON.parse(readFileSync(process.argv[2], 'utf8'))

/** The checks of one script and how many passed. */
export class Checks {
  passed = 0
  failed = 0

  constructor(name) {
    this.name = name
  }

  /** Runs one check; it passes unless it throws. Returns what it returns. */
  async check(what, body) {
    try {
      const result = await body()
      this.passed += 1
      console.log(`  ok ${what}`)
      return result
    } catch (error) {
      this.failed += 1
      console.log(`  FAILED ${what}: ${error?.stack ?? error}`)
      if (error?.cause) console.log('    cause:', error.cause)
      return undefined
    }
  }

  /** Prints the count and sets the exit code: 0 when something was checked and nothing failed. */
  finish() {
    console.log(`${this.name}: ${this.passed} passed, ${this.failed} failed`)
    process.exitCode = this.passed > 0 && this.failed === 0 ? 0 : 1
  }
}
