using System.CommandLine;
using Dynamo.Vllm.Load;

var rounds = new Option<int>("--rounds") { Description = "Alternating rounds", DefaultValueFactory = _ => 3 };
var streams = new Option<int[]>("--streams")
{
    Description = "Requests in flight; several numbers are run one after the other",
    DefaultValueFactory = _ => [64],
    AllowMultipleArgumentsPerToken = true,
};
var requests = new Option<int?>("--requests") { Description = "Requests in a round; four for each stream if left out" };
var tokens = new Option<int>("--tokens") { Description = "Tokens a request generates", DefaultValueFactory = _ => 64 };
var words = new Option<int>("--prompt-words") { Description = "Words of a prompt, about two tokens each", DefaultValueFactory = _ => 40 };
var disaggregated = new Option<bool>("--disaggregated") { Description = "A prefill and a decode worker of either kind, with NIXL" };
var simulated = new Option<bool>("--simulated") { Description = "Our worker alone, on the simulated engine" };
var engine = new Argument<string[]>("engine arguments")
{
    Description = "vLLM's flags for both workers, after --; the tiny model on the CPU if left out",
};
var root = new RootCommand("Load on our worker and on the official one behind the same official frontend, in alternating rounds.")
{
    rounds,
    streams,
    requests,
    tokens,
    words,
    disaggregated,
    simulated,
    engine,
};
root.Validators.Add(result =>
{
    if (result.GetValue(simulated) && result.GetValue(disaggregated))
    {
        result.AddError("--simulated has no --disaggregated: blocks are handed over between real engines");
    }
});
root.SetAction(
    async (result, _) =>
        await LoadRun.RunAsync(
            new LoadOptions(
                result.GetValue(rounds),
                result.GetValue(streams)!,
                result.GetValue(requests),
                result.GetValue(tokens),
                result.GetValue(words),
                result.GetValue(disaggregated),
                result.GetValue(simulated),
                result.GetValue(engine)!
            )
        )
);
return await root.Parse(args).InvokeAsync();
