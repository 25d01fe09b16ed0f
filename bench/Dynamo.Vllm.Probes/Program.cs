using System.CommandLine;
using Dynamo.Vllm.Testing.Probes;

var requests = new Option<int>("--requests") { Description = "Probes of each path", DefaultValueFactory = _ => 1000 };
var situations = new Option<ProbeSituation[]>("--situations")
{
    Description = "Which ones",
    DefaultValueFactory = _ => Enum.GetValues<ProbeSituation>(),
    AllowMultipleArgumentsPerToken = true,
};
var root = new RootCommand("How fast our worker, on the simulated engine, answers its probes in situations that may keep it from that.")
{
    requests,
    situations,
};
root.SetAction(
    async (result, _) =>
    {
        Console.WriteLine($"{"situation", -16} {"path", -9} {"p50 ms", 8} {"p99 ms", 8} {"max ms", 8}  statuses");
        foreach (var situation in result.GetValue(situations)!)
        {
            await using var scene = await ProbeScene.OpenAsync(situation);
            foreach (var path in new[] { "/live", "/health", "/metrics" })
            {
                // Metrics wait up to 60 ms for a busy interpreter, so fewer of them, or the situation would be over.
                var count = path == "/metrics" ? Math.Max(1, result.GetValue(requests) / 10) : result.GetValue(requests);
                var times = await scene.MeasureAsync(path, count, TimeSpan.FromSeconds(30));
                var (p50, p99) = (times.Quantile(0.5).TotalMilliseconds, times.Quantile(0.99).TotalMilliseconds);
                var statuses = string.Join(' ', times.Statuses);
                Console.WriteLine($"{situation, -16} {path, -9} {p50, 8:F1} {p99, 8:F1} {times.Max.TotalMilliseconds, 8:F1}  {statuses}");
            }
        }
    }
);
return await root.Parse(args).InvokeAsync();
