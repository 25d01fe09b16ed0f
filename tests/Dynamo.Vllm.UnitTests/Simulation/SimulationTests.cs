using System.Globalization;

namespace Dynamo.Vllm.UnitTests.Simulation;

/// <summary>
/// Thousands of lives of a worker, each from a seed. <c>SIMULATION_SEED</c> repeats one, <c>SIMULATION_SEEDS</c> is how many there are.
/// </summary>
public sealed class SimulationTests
{
    private const int SeedsDefault = 2000;

    [Fact]
    public void Whatever_happens_every_request_gets_its_one_answer()
    {
        var given = Number("SIMULATION_SEED");
        var accepted = 0;
        foreach (var seed in given is { } one ? [one] : Enumerable.Range(1, Number("SIMULATION_SEEDS") ?? SeedsDefault))
        {
            using var run = new SimulatedRun(seed);
            var problems = run.Run();
            Assert.True(problems.Count == 0, $"SIMULATION_SEED={seed}: {string.Join(Environment.NewLine, problems)}");
            accepted += run.Accepted;
        }

        Assert.True(given is not null || accepted > 10_000, $"{accepted} requests");
    }

    [Fact]
    public void A_seed_gives_the_same_run_again()
    {
        foreach (var seed in Enumerable.Range(1, 20))
        {
            using var first = new SimulatedRun(seed);
            first.Run();
            using var second = new SimulatedRun(seed);
            second.Run();
            Assert.Equal((first.Executed, first.Accepted), (second.Executed, second.Accepted));
        }
    }

    [Theory]
    [InlineData(nameof(PlantedFault.TokenLost), "tokens: ")]
    [InlineData(nameof(PlantedFault.EndLost), "left behind: ")]
    [InlineData(nameof(PlantedFault.NoStallWatch), "it heard nothing for ")]
    [InlineData(nameof(PlantedFault.NoAbort), "not aborted: ")]
    [InlineData(nameof(PlantedFault.SeenAgain), "seen after it left: ")]
    public void A_planted_fault_is_found_within_a_hundred_seeds(string fault, string problem)
    {
        var found = Enumerable.Range(1, 100).SelectMany(seed => Problems(seed, Enum.Parse<PlantedFault>(fault)));
        Assert.Contains(found, text => text.Contains(problem, StringComparison.Ordinal));
    }

    private static IReadOnlyList<string> Problems(int seed, PlantedFault fault)
    {
        using var run = new SimulatedRun(seed, fault);
        return run.Run();
    }

    private static int? Number(string variable) =>
        int.TryParse(Environment.GetEnvironmentVariable(variable), CultureInfo.InvariantCulture, out var number) ? number : null;
}
