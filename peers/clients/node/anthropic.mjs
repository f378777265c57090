// @anthropic-ai/sdk: messages.

import Anthropic, {
  APIError,
  AuthenticationError,
  BadRequestError,
  InternalServerError,
  NotFoundError,
  RateLimitError,
} from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";

import { near, PERSON, PNG, PNG_SEEN, run, same, throws, through, TIMEOUT } from "./checking.mjs";

const Person = z.object({ name: z.string(), age: z.number() });
const input_schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const TOOL = { name: "weather", description: "The weather of a city.", input_schema };
const THINKING = { type: "enabled", budget_tokens: 1024 };

const client = (here, apiKey = here.key) =>
  new Anthropic({ apiKey, baseURL: here.root, maxRetries: 0, timeout: TIMEOUT });
const asking = (here, scene, more = {}, mark = here.mark()) => ({
  model: here.model,
  max_tokens: 2048,
  messages: [{ role: "user", content: `[${scene}:${mark}] Please.` }],
  ...more,
});
const textOf = (message) => message.content.map((block) => block.text ?? "").join("");

async function complete(here) {
  const message = await client(here).messages.create(asking(here, "hello"));
  same([textOf(message), message.stop_reason], ["Hello there", "end_turn"]);
  same([message.usage.input_tokens, message.usage.output_tokens], [16, 7]);
}

async function stream(here) {
  const mark = here.mark();
  const said = [];
  const events = client(here).messages.stream(asking(here, "gated", {}, mark));
  for await (const event of events) {
    if (event.type !== "content_block_delta") continue;
    said.push(event.delta.text);
    await here.open(mark);
  }
  same(said, ["One", " two"]);
  same((await events.finalMessage()).usage.output_tokens, 7);
}

/** In a stream with thoughts, whose state comes back with the results. */
async function tools(here) {
  const mark = here.mark();
  const asked = asking(here, "thinktools", { tools: [TOOL], thinking: THINKING }, mark);
  const first = await client(here).messages.stream(asked).finalMessage();
  same(
    first.content.map((block) => block.type),
    ["thinking", "tool_use", "tool_use"],
  );
  same(first.content[0].thinking, "I should look.");
  const results = first.content
    .filter((block) => block.type === "tool_use")
    .map((block) => ({ type: "tool_result", tool_use_id: block.id, content: [{ type: "text", text: "20" }] }));
  const messages = [...asked.messages, { role: "assistant", content: first.content }, { role: "user", content: results }];
  const last = await client(here).messages.create({ ...asked, messages });
  same(textOf(last), `States: ${here.wire === "chat.completions" ? "none" : mark}`);
}

async function tool_runner(here) {
  const inputSchema = z.object({ city: z.string() });
  const weather = betaZodTool({ name: "weather", description: "", inputSchema, run: ({ city }) => `sunny in ${city}` });
  const message = await client(here).beta.messages.toolRunner(asking(here, "tools", { tools: [weather] }));
  same(textOf(message), "It is: sunny in Paris / sunny in Rome");
}

async function parse(here) {
  const asked = asking(here, "schema", { output_config: { format: zodOutputFormat(Person) } });
  same((await client(here).messages.parse(asked)).parsed_output, PERSON);
}

async function picture(here) {
  const image = { type: "image", source: { type: "base64", media_type: "image/png", data: PNG } };
  const content = [image, { type: "text", text: `[picture:${here.mark()}]` }];
  const asked = { model: here.model, max_tokens: 99, messages: [{ role: "user", content }] };
  same(textOf(await client(here).messages.create(asked)).slice(0, PNG_SEEN.length), PNG_SEEN);
}

async function counts_and_models(here) {
  const messages = [{ role: "user", content: "How many are these?" }];
  same((await client(here).messages.countTokens({ model: here.model, messages })).input_tokens > 3, true);
  const listed = [];
  for await (const model of client(here).models.list({ limit: 2 })) listed.push(model.id);
  same(listed.includes(here.model), true);
}

async function errors(here) {
  const own = client(here).messages;
  await throws(AuthenticationError, () => client(here, "sk-nobody").messages.create(asking(here, "hello")));
  await throws(NotFoundError, () => own.create(asking(here, "hello", { model: "missing-model" })));
  await throws(BadRequestError, () => own.create(asking(here, "fail-400")));
  for (const stream of [false, true]) {
    const trouble = { model: here.trouble, stream };
    await throws(RateLimitError, () => own.create(asking(here, "fail-429", trouble)));
    await throws(InternalServerError, () => own.create(asking(here, "fail-500", trouble)));
  }
}

async function broken_stream(here) {
  for (const scene of ["break", "fault"]) {
    const mark = here.mark();
    const said = [];
    await throws(APIError, async () => {
      const asked = asking(here, scene, { model: here.trouble, stream: true }, mark);
      for await (const event of await client(here).messages.create(asked)) {
        if (event.type !== "content_block_delta") continue;
        said.push(event.delta.text);
        await here.open(mark);
      }
    });
    same(said, ["One"]);
  }
}

async function slow(here) {
  const message = await client(here).messages.stream(asking(here, "slow")).finalMessage();
  same(textOf(message), "One two");
}

async function leaving(here) {
  const mark = here.mark();
  for await (const event of await client(here).messages.create(asking(here, "hang", { stream: true }, mark))) {
    if (event.type === "content_block_delta") break;
  }
  same(await here.left(mark), true);
}

await run("@anthropic-ai/sdk", [
  complete,
  stream,
  tools,
  tool_runner,
  parse,
  picture,
  counts_and_models,
  errors,
  through(broken_stream),
  near(slow),
  leaving,
]);
