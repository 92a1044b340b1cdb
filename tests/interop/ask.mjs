// Sends the requests of standard input with Node's fetch.
import { createInterface } from "node:readline";

for await (const line of createInterface({ input: process.stdin })) {
  const [method, url, headers, body] = line.split("\t");
  const answer = await fetch(url, {
    method,
    headers: headers.split("|").filter(Boolean).map((header) => header.split(": ")),
    body: body ? Buffer.from(body, "base64") : undefined,
  });
  const said = [...answer.headers].map(([name, value]) => `${name}: ${value}\n`).join("");
  const content = Buffer.from(await answer.arrayBuffer()).toString("base64");
  console.log(`${answer.status}\t${Buffer.from(said).toString("base64")}\t${content}`);
}
