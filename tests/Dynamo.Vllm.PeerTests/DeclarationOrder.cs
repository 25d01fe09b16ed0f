using Xunit.Abstractions;
using Xunit.Sdk;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Tests of a class in the order of the file: for classes whose last test uses up what the others share.</summary>
public sealed class DeclarationOrder : ITestCaseOrderer
{
    public const string Type = "Dynamo.Vllm.PeerTests.DeclarationOrder";

    public const string Assembly = "Dynamo.Vllm.PeerTests";

    public IEnumerable<TTestCase> OrderTestCases<TTestCase>(IEnumerable<TTestCase> testCases)
        where TTestCase : ITestCase => testCases.OrderBy(test => test.TestMethod.Method.ToRuntimeMethod().MetadataToken);
}
