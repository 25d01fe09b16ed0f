using System.Xml.Linq;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.UnitTests;

/// <summary>References run one way (docs/design.md, 4).</summary>
public sealed class ArchitectureTests
{
    private static readonly Dictionary<string, string[]> Allowed = new()
    {
        ["Protocol"] = [],
        ["Core"] = ["Protocol"],
        ["Transports"] = ["Core"],
        ["Python"] = [],
        ["Engine"] = ["Core", "Python"],
        ["Worker"] = ["Engine", "Transports"],
    };

    [Fact]
    public void Projects_refer_only_to_those_below_them()
    {
        foreach (var (project, allowed) in Allowed)
        {
            var file = Path.Combine(SimulatedPaths.Root, "src", $"Dynamo.Vllm.{project}", $"Dynamo.Vllm.{project}.csproj");
            var references = XDocument
                .Load(file)
                .Descendants("ProjectReference")
                .Select(reference => Path.GetFileNameWithoutExtension(reference.Attribute("Include")!.Value)["Dynamo.Vllm.".Length..]);
            Assert.Equal(allowed.Order(), references.Order());
        }

        Assert.Equal(Allowed.Count, Directory.GetDirectories(Path.Combine(SimulatedPaths.Root, "src")).Length);
    }

    [Fact]
    public void Only_the_python_project_knows_the_interpreter()
    {
        foreach (var project in Allowed.Keys.Where(name => name != "Python"))
        {
            var sources = Directory
                .EnumerateFiles(Path.Combine(SimulatedPaths.Root, "src", $"Dynamo.Vllm.{project}"), "*.cs", SearchOption.AllDirectories)
                .Where(path => !path.Contains("/obj/", StringComparison.Ordinal));
            Assert.All(sources, path => Assert.DoesNotContain("Python.Runtime", File.ReadAllText(path), StringComparison.Ordinal));
        }
    }
}
