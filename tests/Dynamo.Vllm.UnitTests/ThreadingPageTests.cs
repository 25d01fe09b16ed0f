using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.UnitTests;

/// <summary>docs/threading.md knows every lock and every queue of the product.</summary>
public sealed class ThreadingPageTests
{
    private static readonly string Page = File.ReadAllText(Path.Combine(SimulatedPaths.Root, "docs", "threading.md"));

    [Theory]
    [InlineData("private readonly Lock ")]
    [InlineData("Channel.Create")]
    [InlineData("private readonly ConcurrentQueue<")]
    public void Every_class_that_has_one_is_named(string declaration)
    {
        var source = Path.Combine(SimulatedPaths.Root, "src");
        var classes = Directory
            .GetFiles(source, "*.cs", SearchOption.AllDirectories)
            .Where(file => !file.Contains($"{Path.DirectorySeparatorChar}obj{Path.DirectorySeparatorChar}", StringComparison.Ordinal))
            .Where(file => File.ReadAllText(file).Contains(declaration, StringComparison.Ordinal))
            .Select(file => Path.GetFileNameWithoutExtension(file).Split('.')[0])
            .ToList();
        Assert.DoesNotContain(classes, name => !Page.Contains($"`{name}`", StringComparison.Ordinal));
    }
}
