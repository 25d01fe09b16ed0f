using System.Text.RegularExpressions;
using Dynamo.Vllm.Core.Lifecycle;
using Dynamo.Vllm.Testing;
using Dynamo.Vllm.Worker.Hosting;
using Microsoft.Extensions.DependencyInjection;

namespace Dynamo.Vllm.UnitTests.Worker.Hosting;

public sealed partial class WorkerServicesTests
{
    private static readonly string Design = File.ReadAllText(Path.Combine(SimulatedPaths.Root, "docs", "design.md"));

    [Fact]
    public void The_design_names_every_stage_in_its_order()
    {
        var stages = new ServiceCollection()
            .AddDynamoWorker(StageSample.Settings(new Dictionary<string, string>(), "--model", "m"))
            .Select(service => service.ImplementationType)
            .OfType<Type>()
            .Where(type => type.IsAssignableTo(typeof(IStage)))
            .Select(type => type.Name);

        Assert.Equal(stages, Stage().Matches(Design).Select(match => match.Groups[1].Value));
    }

    [Fact]
    public void The_files_that_the_design_sends_a_newcomer_to_are_there()
    {
        var table = Design[
            Design.IndexOf("### Where is what", StringComparison.Ordinal)..Design.IndexOf("## 5.", StringComparison.Ordinal)
        ];
        var paths = Quoted()
            .Matches(table)
            .Select(match => match.Groups[1].Value)
            .Where(path => path.Contains('/') && !path.StartsWith('/') && !path.Contains('*'))
            .ToList();

        Assert.True(paths.Count >= 15, $"{paths.Count} paths");
        Assert.All(paths, path => Assert.True(Exists(path), path));
    }

    private static bool Exists(string path)
    {
        string[] folders = ["python", "docs", "tests"];
        var place = folders.Contains(path.Split('/')[0]) ? path : Path.Combine("src", $"Dynamo.Vllm.{path}");
        var full = Path.Combine(SimulatedPaths.Root, place);
        return full.EndsWith('/') ? Directory.Exists(full) : File.Exists(full);
    }

    [GeneratedRegex(@"^\| `(\w+Stage)` \|", RegexOptions.Multiline)]
    private static partial Regex Stage();

    [GeneratedRegex("`([^`]+)`")]
    private static partial Regex Quoted();
}
